#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "vmm/boot/boot.h"
#include "vmm/boot/kernel_image.h"
#include "vmm/memory/guest_memory.h"

namespace drupe {

/// A regular file that holds something hostile: reads are checked against its size.
class ImageFile {
  public:
    [[nodiscard]] static Result<ImageFile> create(int fd, const char* what);

    [[nodiscard]] uint64_t size() const { return size_; }
    [[nodiscard]] bool contains(uint64_t offset, uint64_t size) const {
        return offset <= size_ && size <= size_ - offset;
    }
    /// kInvalid, with the file's name for people, if the range isn't in the file.
    [[nodiscard]] Status read(uint64_t offset, std::span<std::byte> out) const;
    /// Straight into guest memory.
    [[nodiscard]] Status load(uint64_t offset, uint64_t size, const GuestMemory& memory,
                              uint64_t address, KernelLoading loading) const;
    [[nodiscard]] Error error(ErrorCode code, std::string_view why) const;

  private:
    ImageFile(int fd, const char* what, uint64_t size) : fd_(fd), what_(what), size_(size) {}
    [[nodiscard]] Status read_into(uint64_t offset, GuestSlice slice) const;

    int fd_;
    const char* what_;
    uint64_t size_;
};

[[nodiscard]] Result<KernelImage> load_elf(const ImageFile& file, const GuestMemory& memory,
                                           KernelLoading loading,
                                           std::optional<BootProtocol> protocol);
[[nodiscard]] Result<KernelImage> load_bzimage(const ImageFile& file, const GuestMemory& memory,
                                               KernelLoading loading);

}  // namespace drupe
