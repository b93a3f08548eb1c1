#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "vmm/memory/guest_memory.h"

namespace drupe {

/// The machine's generation id (Microsoft, "Virtual Machine Generation ID"; device tree binding
/// microsoft,vmgenid): 16 random bytes at the start of a page of RAM that the guest's kernel leaves
/// alone, and so reads without an exit. A machine that goes on from a snapshot gets others and an
/// interrupt, by which its kernel knows that there may be more of it, and reseeds its generator.
///
/// Used on the thread that makes the machine, while no vCPU runs.
class VmGenId {
  public:
    using Id = std::array<std::byte, 16>;

    /// kInvalid unless a page of RAM begins there. The memory outlives it.
    [[nodiscard]] static Result<VmGenId> create(const GuestMemory& memory, uint64_t address);
    /// From anybody's bytes, in the place of create(): kCorrupt if they aren't encode()'s for such
    /// a page. The id isn't part of them: a restored machine has another.
    [[nodiscard]] static Result<VmGenId> decode(const GuestMemory& memory, std::string_view bytes);
    [[nodiscard]] std::string encode() const;

    void set(const Id& id) const { page_.copy_from(id); }

  private:
    VmGenId(uint64_t address, GuestSlice page) : address_(address), page_(page) {}

    uint64_t address_;
    GuestSlice page_;
};

/// The state file's section of it: of machines whose device tree has one.
inline constexpr std::string_view kVmGenIdSection = "device.vmgenid";
inline constexpr uint32_t kVmGenIdSectionVersion = 1;

}  // namespace drupe
