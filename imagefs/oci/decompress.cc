#include "imagefs/oci/decompress.h"

#include <fmt/core.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <cstring>

#include "imagefs/oci/bzip2_xz.h"
#include "imagefs/oci/compressed_input.h"

namespace drupe::imagefs::oci {
namespace {

constexpr size_t kMagicBytes = 4;
/// A zstd stream names the window it needs; 128 MiB is what the zstd program takes without --long.
constexpr int kMaxWindowLog = 27;

bool is_gzip(std::span<const std::byte> data) {
    return data.size() >= 2 && data[0] == std::byte{0x1f} && data[1] == std::byte{0x8b};
}

bool is_zstd(std::span<const std::byte> data) {
    uint32_t magic = 0;
    if (data.size() < sizeof magic) return false;
    std::memcpy(&magic, data.data(), sizeof magic);
    return magic == ZSTD_MAGICNUMBER ||
           (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

class Plain final : public ByteSource {
  public:
    explicit Plain(CompressedInput input) : input_(std::move(input)) {}
    Result<size_t> read(std::span<std::byte> out) override {
        TRY(input_.fill(1));
        const auto data = input_.available();
        const size_t count = std::min(out.size(), data.size());
        std::memcpy(out.data(), data.data(), count);
        input_.consume(count);
        return count;
    }

  private:
    CompressedInput input_;
};

class Gzip final : public ByteSource {
  public:
    explicit Gzip(CompressedInput input)
        : input_(std::move(input)), state_(std::make_unique<inflate_state>()) {
        start_member();
    }

    Result<size_t> read(std::span<std::byte> out) override {
        while (!finished_) {
            TRY(input_.fill(1));
            const auto data = input_.available();
            state_->next_in = reinterpret_cast<uint8_t*>(data.data());
            state_->avail_in = static_cast<uint32_t>(data.size());
            state_->next_out = reinterpret_cast<uint8_t*>(out.data());
            const auto room = static_cast<uint32_t>(std::min<size_t>(out.size(), 1 << 30));
            state_->avail_out = room;
            const int code = isal_inflate(state_.get());
            if (code != ISAL_DECOMP_OK) {
                return Error{ErrorCode::kCorrupt, fmt::format("damaged gzip data ({})", code)};
            }
            const size_t used = data.size() - state_->avail_in;
            const size_t made = room - state_->avail_out;
            input_.consume(used);
            if (state_->block_state == ISAL_BLOCK_FINISH) {
                TRY(next_member());
            } else if (used == 0 && made == 0) {
                return Error{ErrorCode::kCorrupt, "the gzip data ends too early"};
            }
            if (made > 0) return made;
        }
        return size_t{0};
    }

  private:
    void start_member() {
        isal_inflate_init(state_.get());
        state_->crc_flag = ISAL_GZIP;
    }
    /// Another member may follow; zeroes are padding, as gzip(1) has it.
    Status next_member() {
        while (true) {
            TRY(input_.fill(2));
            const auto data = input_.available();
            if (data.empty()) {
                finished_ = true;
                return ok();
            }
            if (is_gzip(data)) {
                start_member();
                return ok();
            }
            if (data[0] != std::byte{0}) {
                return Error{ErrorCode::kCorrupt, "something that isn't gzip follows gzip data"};
            }
            input_.consume(1);
        }
    }

    CompressedInput input_;
    std::unique_ptr<inflate_state> state_;
    bool finished_ = false;
};

class Zstd final : public ByteSource {
  public:
    explicit Zstd(CompressedInput input) : input_(std::move(input)), stream_(ZSTD_createDStream()) {
        if (stream_) ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
    }

    Result<size_t> read(std::span<std::byte> out) override {
        if (!stream_) return Error{ErrorCode::kInternal, "no memory for zstd"};
        while (true) {
            TRY(input_.fill(1));
            const auto data = input_.available();
            if (data.empty() && at_frame_end_) return size_t{0};
            ZSTD_inBuffer in{data.data(), data.size(), 0};
            ZSTD_outBuffer target{out.data(), out.size(), 0};
            const size_t code = ZSTD_decompressStream(stream_.get(), &target, &in);
            if (ZSTD_isError(code) != 0) {
                return Error{ErrorCode::kCorrupt,
                             fmt::format("damaged zstd data: {}", ZSTD_getErrorName(code))};
            }
            at_frame_end_ = code == 0;
            input_.consume(in.pos);
            if (target.pos > 0) return target.pos;
            if (in.pos == 0 && !at_frame_end_) {
                return Error{ErrorCode::kCorrupt, "the zstd data ends too early"};
            }
        }
    }

  private:
    struct Free {
        void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
    };
    CompressedInput input_;
    std::unique_ptr<ZSTD_DStream, Free> stream_;
    bool at_frame_end_ = false;
};

/// By what is in the input already.
Decompressor make_decompressor_of(CompressedInput input) {
    const auto start = input.available();
    if (is_gzip(start))
        return Decompressor{std::make_unique<Gzip>(std::move(input)), true, "+gzip"};
    if (is_zstd(start))
        return Decompressor{std::make_unique<Zstd>(std::move(input)), true, "+zstd"};
    return Decompressor{std::make_unique<Plain>(std::move(input)), false, ""};
}

}  // namespace

bool is_compressed(std::span<const std::byte> start) {
    return is_gzip(start) || is_zstd(start);
}

bool is_compressed_archive(std::span<const std::byte> start) {
    return is_compressed(start) || is_bzip2(start) || is_xz(start);
}

Result<Decompressor> make_archive_decompressor(ByteSource& inner) {
    CompressedInput input(inner);
    TRY(input.fill(kArchiveMagicBytes));
    const auto start = input.available();
    if (is_bzip2(start)) return Decompressor{make_bzip2_source(std::move(input)), true, ""};
    if (is_xz(start)) return Decompressor{make_xz_source(std::move(input)), true, ""};
    return make_decompressor_of(std::move(input));
}

Result<Decompressor> make_decompressor(ByteSource& inner) {
    CompressedInput input(inner);
    TRY(input.fill(kMagicBytes));
    return make_decompressor_of(std::move(input));
}

}  // namespace drupe::imagefs::oci
