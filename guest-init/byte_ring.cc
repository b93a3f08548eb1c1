#include "guest-init/byte_ring.h"

#include <algorithm>
#include <cstring>

namespace drupe::protocol {
namespace {
constexpr size_t kFirstStorage = 4096;
}

std::span<char> ByteRing::writable() {
    if (room() == 0) return {};
    if (size() == storage_size_) grow();
    const size_t at = end_ & (storage_size_ - 1);
    return {storage_.get() + at, std::min(storage_size_ - at, storage_size_ - size())};
}

void ByteRing::grow() {
    const size_t new_size = storage_size_ == 0 ? kFirstStorage : storage_size_ * 2;
    std::unique_ptr<char[]> storage(new char[new_size]);
    for (uint64_t offset = begin_; offset < end_;) {
        const std::string_view piece = peek(offset, new_size - (offset & (new_size - 1)));
        std::memcpy(storage.get() + (offset & (new_size - 1)), piece.data(), piece.size());
        offset += piece.size();
    }
    storage_ = std::move(storage);
    storage_size_ = new_size;
}

size_t ByteRing::append(std::string_view bytes) {
    size_t done = 0;
    while (done < bytes.size()) {
        const std::span<char> space = writable();
        if (space.empty()) break;
        const size_t n = std::min(space.size(), bytes.size() - done);
        std::memcpy(space.data(), bytes.data() + done, n);
        commit(n);
        done += n;
    }
    return done;
}

std::string_view ByteRing::peek(uint64_t offset, size_t max) const {
    if (offset < begin_ || offset >= end_) return {};
    const size_t at = offset & (storage_size_ - 1);
    const size_t available = static_cast<size_t>(end_ - offset);
    return {storage_.get() + at, std::min({max, available, storage_size_ - at})};
}

}  // namespace drupe::protocol
