#pragma once

// What tests of images share: tars made in memory, a disk in a sparse file, and e2fsck over it.

#include <string>
#include <vector>

#include "base/fd.h"
#include "imagefs/ext4/block_device.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/ext4/entry.h"
#include "imagefs/ext4/image_reader.h"

namespace drupe::imagefs::ext4 {

class StringSource final : public ByteSource {
  public:
    explicit StringSource(std::string bytes) : bytes_(std::move(bytes)) {}
    Result<size_t> read(std::span<std::byte> out) override;

  private:
    std::string bytes_;
    size_t at_ = 0;
};

/// A tar written by libarchive (PAX where needed), entry by entry.
class TarBuilder {
  public:
    TarBuilder();
    ~TarBuilder();
    TarBuilder(const TarBuilder&) = delete;
    TarBuilder& operator=(const TarBuilder&) = delete;

    TarBuilder& add(const Entry& entry, std::string_view content = {});
    TarBuilder& file(std::string path, std::string_view content, uint32_t mode = 0644);
    TarBuilder& directory(std::string path, uint32_t mode = 0755);
    TarBuilder& symlink(std::string path, std::string target);
    TarBuilder& hardlink(std::string path, std::string target);
    [[nodiscard]] std::string finish();

  private:
    void* archive_;
    std::string bytes_;
};

/// A freshly formatted disk in an unlinked sparse file.
class TestImage {
  public:
    explicit TestImage(uint64_t block_count);
    [[nodiscard]] BlockDevice& device() { return *device_; }
    [[nodiscard]] Result<ApplyStats> apply(std::string tar, const ApplyLimits& limits = {});
    /// Applies and expects success and a clean e2fsck.
    void must_apply(std::string tar);
    /// What e2fsck -fn says; empty if it finds nothing wrong.
    [[nodiscard]] std::string problems() const;
    [[nodiscard]] std::string path() const;
    [[nodiscard]] ImageReader reader();
    [[nodiscard]] uint64_t allocated_bytes() const;

  private:
    Fd file_;
    std::unique_ptr<BlockDevice> device_;
};

}  // namespace drupe::imagefs::ext4
