#include "imagefs/registry/downloads.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace drupe::imagefs::registry {
namespace {

constexpr size_t kBufferBytes = 256 << 10;

Error mismatch(const oci::Descriptor& blob, const Digest& actual) {
    return {ErrorCode::kCorrupt, fmt::format("blob {}: what the registry gives is {}",
                                             blob.digest.to_string(), actual.to_string())};
}

Error not_needed() {
    return {ErrorCode::kConflict, "not needed any more"};
}

}  // namespace

/// Reads one generation of a blob.
class Downloads::Reader final : public ByteSource {
  public:
    Reader(Downloads& downloads, size_t index, uint64_t generation)
        : downloads_(downloads), index_(index), generation_(generation) {}
    Result<size_t> read(std::span<std::byte> out) override {
        TRY_ASSIGN(const size_t got, downloads_.read(index_, generation_, offset_, out));
        offset_ += got;
        return got;
    }

  private:
    Downloads& downloads_;
    size_t index_;
    uint64_t generation_;
    uint64_t offset_ = 0;
};

Downloads::Downloads(const Session& session, const Repositories& from, std::string dir,
                     std::vector<oci::Descriptor> blobs, IsWanted is_wanted, Report report)
    : session_(session),
      from_(from),
      dir_(std::move(dir)),
      is_wanted_(std::move(is_wanted)),
      report_(std::move(report)) {
    {
        const MutexLock lock(mutex_);
        for (oci::Descriptor& blob : blobs) {
            items_.emplace_back();
            items_.back().blob = std::move(blob);
        }
    }
    const size_t count = std::min(blobs.size(), kParallel);
    for (size_t i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
}

Downloads::~Downloads() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    const MutexLock lock(mutex_);
    for (Item& item : items_) {
        if (item.file) item.file->release();
    }
}

void Downloads::work() {
    HttpLimits limits = session_.limits;
    limits.stop = &stop_;
    HttpClient http(session_.config, limits);
    for (;;) {
        const size_t index = next_.fetch_add(1);
        {
            const MutexLock lock(mutex_);
            if (index >= items_.size() || stop_.load()) return;
        }
        if (is_unwanted(index)) continue;
        Status outcome = fetch(index, http);
        const bool good = outcome.has_value();
        uint64_t bytes = 0;
        {
            const MutexLock lock(mutex_);
            items_[index].outcome = std::move(outcome);
            bytes = items_[index].bytes;
        }
        set(index, good ? State::kComplete : State::kFailed, bytes);
    }
}

Status Downloads::fetch(size_t index, HttpClient& http) {
    oci::Descriptor blob;
    {
        const MutexLock lock(mutex_);
        blob = items_[index].blob;
    }
    // What another one left may be wrong, and so may what each of the repositories has.
    size_t first = 0;
    while (true) {
        TRY_ASSIGN(DownloadFile claimed, DownloadFile::claim(dir_, blob.digest, stop_));
        const auto file = std::make_shared<DownloadFile>(std::move(claimed));
        if (!file->is_complete()) {
            TRY_ASSIGN(const bool wanted, is_wanted_still(index));
            if (!wanted) {
                TRY(file->discard());
                return not_needed();
            }
        }
        restart(index, file);
        TRY_ASSIGN(const uint64_t there, file->size());
        Digest digest;
        TRY(fetch_into(index, first, http, *file, digest));
        if (digest == blob.digest) return file->complete();
        TRY(file->discard());
        if (there > 0) continue;
        if (++first >= from_.size()) {
            return mismatch(blob, digest).wrap(from_.back()->where() + "/" + from_.back()->name());
        }
    }
}

Status Downloads::fetch_into(size_t index, size_t first, HttpClient& http, DownloadFile& file,
                             Digest& digest) {
    oci::Descriptor blob;
    {
        const MutexLock lock(mutex_);
        blob = items_[index].blob;
    }
    std::vector<std::byte> buffer(kBufferBytes);
    Sha256 hash;
    TRY_ASSIGN(uint64_t size, file.size());
    if (size > blob.size || (file.is_complete() && size != blob.size)) {
        digest = {};
        return ok();  // wrong
    }
    for (uint64_t at = 0; at < size;) {
        const auto piece = std::span(buffer).first(std::min<uint64_t>(size - at, buffer.size()));
        TRY(read_exact(file.fd().get(), piece, at));
        hash.update(piece);
        at += piece.size();
        if (stop_.load()) return Error{ErrorCode::kLimit, "stopped"};
    }
    set(index, State::kRunning, size);
    BlobReader reader(from_, first, http, blob, size);
    while (!file.is_complete()) {
        TRY_ASSIGN(const size_t got, reader.read(buffer));
        if (got == 0) break;
        const auto piece = std::span(buffer).first(got);
        TRY(write_exact(file.fd().get(), piece, size));
        hash.update(piece);
        size += got;
        set(index, State::kRunning, size);
        if (is_unwanted(index)) {
            TRY(file.discard());
            return not_needed();
        }
    }
    set(index, State::kVerifying, size);
    digest = hash.finish();
    return ok();
}

void Downloads::set(size_t index, State state, uint64_t bytes) {
    {
        const MutexLock lock(mutex_);
        items_[index].state = state;
        items_[index].bytes = bytes;
    }
    changed_.notify_all();
    const MutexLock lock(report_mutex_);
    if (report_) report_(index, state, bytes);
}

bool Downloads::is_unwanted(size_t index) {
    const MutexLock lock(mutex_);
    return items_[index].unwanted;
}

Result<bool> Downloads::is_wanted_still(size_t index) {
    const MutexLock lock(report_mutex_);
    return is_wanted_(index);
}

void Downloads::restart(size_t index, std::shared_ptr<DownloadFile> file) {
    {
        const MutexLock lock(mutex_);
        Item& item = items_[index];
        item.file = std::move(file);
        item.bytes = 0;
        ++item.generation;
    }
    changed_.notify_all();
}

Result<size_t> Downloads::read(size_t index, uint64_t generation, uint64_t offset,
                               std::span<std::byte> out) {
    std::shared_ptr<DownloadFile> file;
    uint64_t available = 0;
    {
        const MutexLock lock(mutex_);
        Item& item = items_[index];
        const auto ended = [&] {
            return item.state == State::kComplete || item.state == State::kFailed;
        };
        while (item.generation == generation && item.bytes <= offset && !ended()) {
            changed_.wait(mutex_);
        }
        if (item.state == State::kFailed) return item.outcome.error();
        if (item.generation != generation) {
            return Error{ErrorCode::kCorrupt,
                         fmt::format("blob {} came wrongly", item.blob.digest.to_string())};
        }
        file = item.file;
        available = item.bytes - std::min(item.bytes, offset);
    }
    const size_t wanted = std::min<uint64_t>(available, out.size());
    if (wanted > 0) {
        TRY(read_exact(file->fd().get(), out.first(wanted), offset));
    }
    return wanted;
}

Result<oci::ByteSourcePtr> Downloads::open(size_t index) {
    const MutexLock lock(mutex_);
    Item& item = items_[index];
    // Until its file is there, there is no generation to read.
    while (item.generation == 0 && item.state != State::kFailed) changed_.wait(mutex_);
    if (item.state == State::kFailed) return item.outcome.error();
    item.opened = item.generation;
    return oci::ByteSourcePtr(std::make_unique<Reader>(*this, index, item.generation));
}

bool Downloads::was_replaced(size_t index) {
    const MutexLock lock(mutex_);
    const Item& item = items_[index];
    // Whether what was read so far is right shows at its end.
    while (item.generation == item.opened && item.state != State::kComplete &&
           item.state != State::kFailed) {
        changed_.wait(mutex_);
    }
    return item.generation != item.opened || item.state == State::kFailed;
}

void Downloads::release(size_t index) {
    std::shared_ptr<DownloadFile> file;
    {
        const MutexLock lock(mutex_);
        items_[index].unwanted = true;
        if (items_[index].state != State::kComplete) return;
        file = std::exchange(items_[index].file, nullptr);
    }
    if (file) file->release();
}

}  // namespace drupe::imagefs::registry
