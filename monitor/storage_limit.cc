#include "monitor/storage_limit.h"

#include <array>
#include <cstring>

#include "imagefs/guestfs/guest_fs.h"

namespace drupe {
namespace {

/// What lies below a disk's top, to read whole blocks of.
class ImageDisk final : public BlockBackend {
  public:
    explicit ImageDisk(const imagefs::LayeredDisk& disk) : disk_(disk) {}

    [[nodiscard]] uint64_t size_bytes() const override { return disk_.size_bytes(); }
    [[nodiscard]] bool read_only() const override { return true; }
    [[nodiscard]] Status read(uint64_t offset, std::span<const iovec> out) override {
        for (const iovec& part : out) {
            TRY(disk_.read_parent(offset / kBlockSize, part.iov_len / kBlockSize,
                                  static_cast<std::byte*>(part.iov_base)));
            offset += part.iov_len;
        }
        return ok();
    }
    [[nodiscard]] Status write(uint64_t, std::span<const iovec>) override { return refuse(); }
    [[nodiscard]] Status flush() override { return refuse(); }
    [[nodiscard]] Status write_zeroes(uint64_t, uint64_t, bool) override { return refuse(); }
    [[nodiscard]] Status discard(uint64_t, uint64_t) override { return refuse(); }

  private:
    static Status refuse() { return Error{ErrorCode::kDenied, "an image is only read"}; }
    const imagefs::LayeredDisk& disk_;
};

}  // namespace

Result<uint64_t> bytes_to_reserve(const imagefs::LayeredDisk& disk, uint64_t room_bytes) {
    ImageDisk image(disk);
    // A container that was committed without a freeze goes on above such a layer. Stale counts show
    // more free space than there is: the limit is the stricter for it.
    const auto fs = imagefs::guestfs::GuestFs::open(image, {.with_waiting_journal = true});
    if (!fs) return Error(fs.error()).wrap("limit the storage");
    const uint64_t free_bytes = fs.value().free_blocks() * BlockBackend::kBlockSize;
    return free_bytes > room_bytes ? free_bytes - room_bytes : 0;
}

}  // namespace drupe
