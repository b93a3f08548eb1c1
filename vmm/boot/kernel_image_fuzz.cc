#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/boot/kernel_image.h"

namespace {

using namespace drupe;

constexpr uint64_t kRam = 32 * arch::kMiB;

/// Everything that a loader promises about an image it accepted.
void check_image(const KernelImage& image, const GuestMemory& memory) {
    DRUPE_CHECK(image.start >= arch::kHighMemory);
    DRUPE_CHECK(image.start < image.end);
    DRUPE_CHECK(memory.slice(image.start, image.end - image.start).has_value());
    DRUPE_CHECK(image.entry >= image.start && image.entry < image.end);
    DRUPE_CHECK(image.max_cmdline <= kMaxCmdline);
}

}  // namespace

/// The first byte chooses how to load, the rest is the kernel's file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const int file = ::memfd_create("kernel", MFD_CLOEXEC);
    static const GuestMemory memory =
        std::move(GuestMemory::create(arch::ram_ranges(kRam))).value();
    if (size == 0 || file < 0) return 0;
    const uint8_t how = data[0];
    if (::ftruncate(file, 0) < 0 ||
        ::pwrite(file, data + 1, size - 1, 0) != static_cast<ssize_t>(size - 1)) {
        return 0;
    }
    // Not kMapPrivate: the file shrinks with the next input, under the pages mapped by this one.
    const auto protocol = (how & 2) == 0   ? std::nullopt
                          : (how & 4) == 0 ? std::optional(BootProtocol::kLinux64)
                                           : std::optional(BootProtocol::kPvh);
    const auto image = load_kernel(file, memory, KernelLoading::kRead, protocol);
    if (image) check_image(image.value(), memory);
    return 0;
}
