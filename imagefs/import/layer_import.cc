#include "imagefs/import/layer_import.h"

#include <fmt/core.h>

#include <atomic>

#include "imagefs/ext4/tar_applier.h"
#include "imagefs/import/disk_device.h"

namespace drupe::imagefs {
namespace {

/// Counts what passes for another thread to see, and copies it to a file if there is one.
class CountingSource final : public ByteSource {
  public:
    CountingSource(ByteSource& inner, int copy_fd) : inner_(inner), copy_fd_(copy_fd) {}
    Result<size_t> read(std::span<std::byte> out) override {
        TRY_ASSIGN(const size_t got, inner_.read(out));
        if (copy_fd_ >= 0) {
            TRY(write_all(copy_fd_, out.first(got)));
        }
        bytes_.fetch_add(got, std::memory_order_relaxed);
        return got;
    }
    [[nodiscard]] uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  private:
    ByteSource& inner_;
    int copy_fd_;
    std::atomic<uint64_t> bytes_ = 0;
};

/// Tells the progress now and then, on the thread that reads.
class ReportingSource final : public ByteSource {
  public:
    ReportingSource(ByteSource& inner, const CountingSource& counted,
                    const std::function<void(uint64_t)>& report)
        : inner_(inner), counted_(counted), report_(report) {}
    Result<size_t> read(std::span<std::byte> out) override {
        constexpr uint64_t kStep = 4 << 20;
        const uint64_t bytes = counted_.bytes();
        if (report_ && bytes - reported_ >= kStep) {
            reported_ = bytes;
            report_(bytes);
        }
        return inner_.read(out);
    }

  private:
    ByteSource& inner_;
    const CountingSource& counted_;
    const std::function<void(uint64_t)>& report_;
    uint64_t reported_ = 0;
};

Error mismatch(std::string_view what, const Digest& expected, const Digest& actual) {
    return {ErrorCode::kCorrupt, fmt::format("the layer's {} is {}, but should be {}", what,
                                             actual.to_string(), expected.to_string())};
}

Status drain(ByteSource& source) {
    std::vector<std::byte> buffer(64 * 1024);
    while (true) {
        TRY_ASSIGN(const size_t got, source.read(buffer));
        if (got == 0) return ok();
    }
}

using Consumer = std::function<Result<ext4::ApplyStats>(ByteSource& tar)>;

Result<LayerResult> pass_layer(const Consumer& consume, const LayerInput& input,
                               const ext4::ApplyLimits& limits,
                               const oci::ExpansionLimit& expansion,
                               const std::function<void(uint64_t)>& on_bytes) {
    CountingSource counted(input.blob, input.copy_fd);
    oci::HashingSource blob(counted, input.blob_size, "the layer");
    TRY_ASSIGN(const oci::Decompressor plain, oci::make_decompressor(blob));
    LayerResult result;
    {
        const oci::ByteSourcePtr ahead = oci::make_read_ahead(*plain.source);
        ReportingSource reporting(*ahead, counted, on_bytes);
        const uint64_t limit =
            input.size_is_exact ? expansion.max_bytes(input.blob_size) : limits.max_content_bytes;
        // Of a plain tar the two digests are one.
        using Hash = oci::HashingSource::Hash;
        oci::HashingSource tar(reporting, limit, "the layer, uncompressed,",
                               plain.compressed ? Hash::kYes : Hash::kNo);
        TRY_ASSIGN(result.stats, consume(tar));
        if (plain.compressed) result.diff_id = tar.finish();
    }
    TRY(drain(blob));  // A decompressor stops at the end of what it understands.
    result.blob_digest = blob.finish();
    result.blob_bytes = blob.bytes();
    result.media_type = "application/vnd.oci.image.layer.v1.tar";
    result.media_type += plain.suffix;
    if (!plain.compressed) result.diff_id = result.blob_digest;
    if (input.size_is_exact && blob.bytes() != input.blob_size) {
        return Error{ErrorCode::kCorrupt, fmt::format("the layer has {} bytes, but should have {}",
                                                      blob.bytes(), input.blob_size)};
    }
    if (input.blob_digest && result.blob_digest != *input.blob_digest) {
        return mismatch("digest", *input.blob_digest, result.blob_digest);
    }
    if (input.diff_id && result.diff_id != *input.diff_id) {
        return mismatch("diffID", *input.diff_id, result.diff_id);
    }
    return result;
}

}  // namespace

Result<LayerResult> build_layer(LayerBuilder& builder, const LayerInput& input,
                                const ext4::ApplyLimits& limits,
                                const oci::ExpansionLimit& expansion,
                                const std::function<void(uint64_t)>& on_bytes) {
    const auto apply = [&](ByteSource& tar) {
        DiskDevice device(builder.disk());
        return ext4::apply_tar(device, tar, limits);
    };
    return pass_layer(apply, input, limits, expansion, on_bytes);
}

Result<LayerResult> check_layer(const LayerInput& input, const ext4::ApplyLimits& limits,
                                const oci::ExpansionLimit& expansion,
                                const std::function<void(uint64_t)>& on_bytes) {
    const auto ignore = [](ByteSource& tar) -> Result<ext4::ApplyStats> {
        TRY(drain(tar));
        return ext4::ApplyStats{};
    };
    return pass_layer(ignore, input, limits, expansion, on_bytes);
}

}  // namespace drupe::imagefs
