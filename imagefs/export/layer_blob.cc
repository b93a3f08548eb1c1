#include "imagefs/export/layer_blob.h"

#include <zlib.h>

#include <vector>

#include "base/fd.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
// igzip would be quicker, but what it writes depends on the processor.
constexpr int kLevel = 6;
constexpr int kGzipWindow = 15 + 16;
constexpr int kMemoryLevel = 8;

/// zlib's own gzip header has no name and no time.
class GzipFile {
  public:
    explicit GzipFile(int fd) : fd_(fd), out_(kBufferBytes) {}
    GzipFile(const GzipFile&) = delete;
    GzipFile& operator=(const GzipFile&) = delete;
    ~GzipFile() {
        if (open_) deflateEnd(&stream_);
    }

    Status start() {
        if (deflateInit2(&stream_, kLevel, Z_DEFLATED, kGzipWindow, kMemoryLevel,
                         Z_DEFAULT_STRATEGY) != Z_OK) {
            return Error{ErrorCode::kInternal, "zlib can't start"};
        }
        open_ = true;
        return ok();
    }

    Status put(std::span<const std::byte> bytes) {
        // zlib's interface has no const; it only reads.
        stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
        stream_.avail_in = static_cast<uInt>(bytes.size());
        while (stream_.avail_in > 0) {
            TRY(step(Z_NO_FLUSH));
        }
        return ok();
    }

    Status finish(LayerBlob& blob) {
        while (!at_end_) {
            TRY(step(Z_FINISH));
        }
        blob.digest = hash_.finish();
        blob.size = size_;
        return ok();
    }

  private:
    Status step(int flush) {
        stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
        stream_.avail_out = static_cast<uInt>(out_.size());
        const int result = deflate(&stream_, flush);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
            return Error{ErrorCode::kInternal, "zlib can't go on"};
        }
        at_end_ = result == Z_STREAM_END;
        const auto made = std::span(out_).first(out_.size() - stream_.avail_out);
        hash_.update(made);
        size_ += made.size();
        return write_all(fd_, made);
    }

    int fd_;
    z_stream stream_{};
    bool open_ = false;
    bool at_end_ = false;
    std::vector<std::byte> out_;
    Sha256 hash_;
    uint64_t size_ = 0;
};

}  // namespace

Result<LayerBlob> compress_layer(ByteSource& tar, int fd) {
    GzipFile gzip(fd);
    TRY(gzip.start());
    LayerBlob blob;
    Sha256 hash;
    std::vector<std::byte> buffer(kBufferBytes);
    for (;;) {
        TRY_ASSIGN(const size_t got, tar.read(buffer));
        if (got == 0) break;
        const auto piece = std::span(buffer).first(got);
        hash.update(piece);
        TRY(gzip.put(piece));
    }
    blob.diff_id = hash.finish();
    TRY(gzip.finish(blob));
    return blob;
}

}  // namespace drupe::imagefs
