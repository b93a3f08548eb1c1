#include "imagefs/oci/bzip2_xz.h"

#include <bzlib.h>
#include <fmt/core.h>
#include <lzma.h>

#include <algorithm>
#include <array>
#include <optional>

namespace drupe::imagefs::oci {
namespace {

/// A stream names the dictionary that it needs; `xz -9` takes 65 MiB.
constexpr uint64_t kMaxXzBytes = 128 << 20;
constexpr size_t kMostAtOnce = 1 << 30;

Error damaged(std::string_view what, int code) {
    return Error{ErrorCode::kCorrupt, fmt::format("damaged {} data ({})", what, code)};
}
Error cut(std::string_view what) {
    return Error{ErrorCode::kCorrupt, fmt::format("the {} data ends too early", what)};
}

class Bzip2 final : public ByteSource {
  public:
    explicit Bzip2(CompressedInput input) : input_(std::move(input)) {}
    Bzip2(const Bzip2&) = delete;
    Bzip2& operator=(const Bzip2&) = delete;
    ~Bzip2() override { close(); }

    Result<size_t> read(std::span<std::byte> out) override {
        while (true) {
            TRY(input_.fill(kMagicBytes));
            const auto data = input_.available();
            if (!stream_) {
                if (data.empty()) return size_t{0};
                TRY(open(data));
            }
            stream_->next_in = reinterpret_cast<char*>(data.data());
            stream_->avail_in = static_cast<unsigned>(data.size());
            stream_->next_out = reinterpret_cast<char*>(out.data());
            const auto room = static_cast<unsigned>(std::min(out.size(), kMostAtOnce));
            stream_->avail_out = room;
            const int code = BZ2_bzDecompress(&*stream_);
            if (code != BZ_OK && code != BZ_STREAM_END) return damaged("bzip2", code);
            const size_t used = data.size() - stream_->avail_in;
            const size_t made = room - stream_->avail_out;
            input_.consume(used);
            if (code == BZ_STREAM_END) {
                close();
            } else if (used == 0 && made == 0) {
                return cut("bzip2");
            }
            if (made > 0) return made;
        }
    }

  private:
    static constexpr size_t kMagicBytes = 4;

    Status open(std::span<const std::byte> data) {
        if (!is_bzip2(data))
            return Error{ErrorCode::kCorrupt, "something that isn't bzip2 follows bzip2 data"};
        stream_.emplace();
        if (const int code = BZ2_bzDecompressInit(&*stream_, 0, 0); code != BZ_OK) {
            stream_.reset();
            return Error{ErrorCode::kInternal, "no memory for bzip2"};
        }
        return ok();
    }
    void close() {
        if (stream_) BZ2_bzDecompressEnd(&*stream_);
        stream_.reset();
    }

    CompressedInput input_;
    std::optional<bz_stream> stream_;
};

class Xz final : public ByteSource {
  public:
    explicit Xz(CompressedInput input) : input_(std::move(input)) {
        usable_ = lzma_stream_decoder(&stream_, kMaxXzBytes, LZMA_CONCATENATED) == LZMA_OK;
    }
    Xz(const Xz&) = delete;
    Xz& operator=(const Xz&) = delete;
    ~Xz() override { lzma_end(&stream_); }

    Result<size_t> read(std::span<std::byte> out) override {
        if (!usable_) return Error{ErrorCode::kInternal, "no memory for xz"};
        while (!finished_) {
            TRY(input_.fill(1));
            const auto data = input_.available();
            stream_.next_in = reinterpret_cast<const uint8_t*>(data.data());
            stream_.avail_in = data.size();
            stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
            stream_.avail_out = out.size();
            const lzma_ret code = lzma_code(&stream_, data.empty() ? LZMA_FINISH : LZMA_RUN);
            const size_t made = out.size() - stream_.avail_out;
            input_.consume(data.size() - stream_.avail_in);
            if (code == LZMA_STREAM_END) {
                finished_ = true;
            } else if (code == LZMA_MEMLIMIT_ERROR) {
                return Error{ErrorCode::kLimit, "the xz data needs a dictionary that is too large"};
            } else if (code == LZMA_BUF_ERROR) {
                return cut("xz");
            } else if (code != LZMA_OK) {
                return damaged("xz", static_cast<int>(code));
            }
            if (made > 0) return made;
        }
        return size_t{0};
    }

  private:
    CompressedInput input_;
    lzma_stream stream_ = LZMA_STREAM_INIT;
    bool usable_ = false;
    bool finished_ = false;
};

}  // namespace

bool is_bzip2(std::span<const std::byte> start) {
    constexpr std::array<char, 3> kMagic{'B', 'Z', 'h'};
    return start.size() >= 4 && std::memcmp(start.data(), kMagic.data(), kMagic.size()) == 0 &&
           start[3] >= std::byte{'1'} && start[3] <= std::byte{'9'};
}

bool is_xz(std::span<const std::byte> start) {
    constexpr std::array<uint8_t, 6> kMagic{0xfd, '7', 'z', 'X', 'Z', 0};
    return start.size() >= kMagic.size() &&
           std::memcmp(start.data(), kMagic.data(), kMagic.size()) == 0;
}

ByteSourcePtr make_bzip2_source(CompressedInput input) {
    return std::make_unique<Bzip2>(std::move(input));
}

ByteSourcePtr make_xz_source(CompressedInput input) {
    return std::make_unique<Xz>(std::move(input));
}

}  // namespace drupe::imagefs::oci
