#include "vmm/arch/x86_64/cpuid.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

namespace drupe::arch {
namespace {

constexpr uint32_t bits(std::initializer_list<unsigned> list) {
    uint32_t mask = 0;
    for (const unsigned bit : list) mask |= 1U << bit;
    return mask;
}

constexpr uint32_t kAll = UINT32_MAX;
constexpr uint32_t kAnyIndex = UINT32_MAX;

/// What of a leaf may be shown. Numbers: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E;
/// Documentation/virt/kvm/x86/cpuid.rst.
struct LeafMask {
    uint32_t function;
    uint32_t index;  // kAnyIndex: every one
    uint32_t eax, ebx, ecx, edx;
};

constexpr LeafMask kBaselineV1[] = {
    {0x0, 0, kAll, kAll, kAll, kAll},  // eax: see kMaxBasic
    {0x1, 0, kAll, kAll,
     // SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES XSAVE AVX
     // F16C RDRAND hypervisor
     bits({0, 1, 9, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30, 31}),
     // FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE
     // SSE2
     bits({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26})},
    {0x2, kAnyIndex, kAll, kAll, kAll, kAll},  // Intel: cache descriptors
    {0x4, kAnyIndex, kAll, kAll, kAll, kAll},  // Intel: caches
    {0x6, 0, bits({2}), 0, 0, 0},              // the APIC timer runs in every sleep state
    {0x7, 0, kAll,
     // FSGSBASE TSC_ADJUST BMI1 AVX2 FDP_EXCPTN_ONLY SMEP BMI2 ERMS INVPCID FCS/FDS-off RDSEED ADX
     // SMAP CLFLUSHOPT CLWB SHA
     bits({0, 1, 3, 5, 6, 7, 8, 9, 10, 13, 18, 19, 20, 23, 24, 29}),
     // UMIP GFNI VAES VPCLMULQDQ RDPID
     bits({2, 8, 9, 10, 22}),
     // FSRM MD_CLEAR IBRS/IBPB STIBP L1D_FLUSH ARCH_CAPABILITIES SSBD
     bits({4, 10, 26, 27, 28, 29, 31})},
    {0x7, 1, bits({10, 11, 12}), 0, 0, 0},  // FZRM FSRS FSRC
    // PSFD IPRED RRSBA DDPD_U BHI controls, MCDT_NO
    {0x7, 2, 0, 0, 0, bits({0, 1, 2, 3, 4, 5})},
    {0xb, kAnyIndex, kAll, kAll, kAll, kAll},  // topology, written below
    {0xd, 0, bits({0, 1, 2}), kAll, kAll, 0},  // x87 SSE AVX state
    {0xd, 1, bits({0, 1, 2, 3}), kAll, 0, 0},  // XSAVEOPT XSAVEC XGETBV1 XSAVES
    {0xd, 2, kAll, kAll, kAll, kAll},          // where AVX state is
    {0x40000000, 0, kAll, kAll, kAll, kAll},
    // Both clocks, I/O without delay, async page faults (also by interrupt), steal time, EOI,
    // unhalt, TLB flush, IPI, yield; the clock is stable
    {0x40000001, 0, bits({0, 1, 3, 4, 5, 6, 7, 9, 11, 13, 14, 24}), 0, 0, 0},
    {0x80000000, 0, kAll, kAll, kAll, kAll},  // eax: see kMaxExtended
    {0x80000001, 0, kAll, kAll,
     // LAHF CmpLegacy CR8 ABM SSE4A MisAlignSSE 3DNowPrefetch TopologyExtensions
     bits({0, 1, 4, 5, 6, 7, 8, 22}),
     // AMD's copy of leaf 1; SYSCALL NX MmxExt FFXSR 1GB RDTSCP LM
     bits({0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  11, 12, 13,
           14, 15, 16, 17, 20, 22, 23, 24, 25, 26, 27, 29})},
    {0x80000002, 0, kAll, kAll, kAll, kAll},  // brand
    {0x80000003, 0, kAll, kAll, kAll, kAll},
    {0x80000004, 0, kAll, kAll, kAll, kAll},
    {0x80000005, 0, kAll, kAll, kAll, kAll},  // AMD: L1 and TLBs
    {0x80000006, 0, kAll, kAll, kAll, kAll},  // L2
    {0x80000008, 0, kAll,
     // CLZERO XSaveErPtr WBNOINVD IBPB IBRS STIBP IBRS-always STIBP-always IBRS-preferred
     // IBRS-same-mode SSBD VIRT_SSBD SSB_NO PSFD BTC_NO IBPB_RET
     bits({0, 2, 9, 12, 14, 15, 16, 17, 18, 19, 24, 25, 26, 28, 29, 30}), 0, 0},
    {0x80000019, 0, kAll, kAll, 0, 0},                // AMD: TLBs of 1 GiB pages
    {0x8000001d, kAnyIndex, kAll, kAll, kAll, kAll},  // AMD: caches
    {0x8000001e, 0, kAll, kAll, kAll, 0},             // AMD: topology, written below
    // No nested data breakpoints, LFENCE serializes, null selector clears base, auto IBRS, VERW
    // clears, SBPB, IBPB_BRTYPE, SRSO_NO, SRSO_USER_KERNEL_NO
    {0x80000021, 0, bits({0, 2, 5, 6, 8, 27, 28, 29, 30}), 0, bits({1, 2}), 0},  // TSA_SQ_NO, L1_NO
};

constexpr uint32_t kMaxBasic = 0xd;
constexpr uint32_t kMaxExtended = 0x80000021;
constexpr uint32_t kStateAvx = 1U << 2;  // d.0.eax
constexpr uint32_t kXsaveBytesSse = 576;
constexpr uint32_t kXsaveBytesAvx = 832;
constexpr uint32_t kFeatureHypervisor = 1U << 31;   // 1.ecx
constexpr uint32_t kFeatureX2apic = 1U << 21;       // 1.ecx
constexpr uint32_t kFeatureTscDeadline = 1U << 24;  // 1.ecx
constexpr uint32_t kFeatureHtt = 1U << 28;          // 1.edx: leaf 1 counts more than one CPU
constexpr uint32_t kFeatureCmpLegacy = 1U << 1;     // 80000001.ecx: and they are cores

const LeafMask* find_mask(const kvm_cpuid_entry2& entry) {
    const auto* const found =
        std::find_if(std::begin(kBaselineV1), std::end(kBaselineV1), [&](const LeafMask& mask) {
            return mask.function == entry.function &&
                   (mask.index == kAnyIndex || mask.index == entry.index);
        });
    return found == std::end(kBaselineV1) ? nullptr : found;
}

/// Bits that an APIC id needs: the smallest power of two that holds all CPUs.
uint32_t id_width(uint32_t vcpus) {
    return static_cast<uint32_t>(std::bit_width(vcpus - 1));
}

/// Intel's leaf 4 and AMD's 0x8000001d, which agree on these bits: L1 and L2 are a core's own, a
/// third level is shared by all.
void set_cache_sharing(kvm_cpuid_entry2& entry, const CpuidOptions& options) {
    constexpr uint32_t kTypeMask = 0x1f;
    constexpr uint32_t kSharingShift = 14;
    constexpr uint32_t kSharingMask = 0xfff << kSharingShift;
    constexpr uint32_t kCoresShift = 26;
    if ((entry.eax & kTypeMask) == 0) return;  // no cache: ends the list
    const uint32_t level = (entry.eax >> 5) & 7;
    const uint32_t sharing = level >= 3 ? options.vcpus - 1 : 0;
    entry.eax = (entry.eax & ~kSharingMask) | sharing << kSharingShift;
    if (entry.function != 4) return;
    const uint32_t ids = (1U << id_width(options.vcpus)) - 1;
    entry.eax = (entry.eax & ((1U << kCoresShift) - 1)) | ids << kCoresShift;
}

void set_topology(kvm_cpuid_entry2& entry, const CpuidOptions& options) {
    switch (entry.function) {
        case 0x1:
            entry.ebx = (entry.ebx & 0xffff) | options.vcpus << 16 | options.vcpu << 24;
            entry.ecx |= kFeatureHypervisor | kFeatureX2apic;
            if (options.tsc_deadline) entry.ecx |= kFeatureTscDeadline;
            if (options.vcpus > 1) entry.edx |= kFeatureHtt;
            break;
        case 0x4:
        case 0x8000001d:
            set_cache_sharing(entry, options);
            break;
        case 0x80000001:
            if (options.vcpus == 1) entry.ecx &= ~kFeatureCmpLegacy;
            break;
        case 0x80000008:
            // AMD: cores - 1, and the width of an APIC id.
            entry.ecx = (options.vcpus - 1) | id_width(options.vcpus) << 12;
            break;
        case 0x8000001e:
            entry.eax = options.vcpu;
            entry.ebx = options.vcpu;  // core id; one thread a core
            entry.ecx = 0;             // one node
            break;
        default:
            break;
    }
}

/// Leaf 0xb, "extended topology", three levels whatever the host has: thread, core, end.
void append_extended_topology(std::vector<kvm_cpuid_entry2>& out, const CpuidOptions& options) {
    constexpr uint32_t kThreadLevel = 1U << 8;
    constexpr uint32_t kCoreLevel = 2U << 8;
    for (uint32_t index = 0; index < 3; ++index) {
        kvm_cpuid_entry2 entry{};
        entry.function = 0xb;
        entry.index = index;
        entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        entry.ecx = index;
        entry.edx = options.vcpu;
        if (index == 0) {
            entry.ebx = 1;
            entry.ecx |= kThreadLevel;
        } else if (index == 1) {
            entry.eax = id_width(options.vcpus);
            entry.ebx = options.vcpus;
            entry.ecx |= kCoreLevel;
        }
        out.push_back(entry);
    }
}

/// A register of CPUID's answer.
struct Register {
    const char* name;
    uint32_t kvm_cpuid_entry2::*value;
};
constexpr Register kEax{"eax", &kvm_cpuid_entry2::eax};
constexpr Register kEbx{"ebx", &kvm_cpuid_entry2::ebx};
constexpr Register kEcx{"ecx", &kvm_cpuid_entry2::ecx};
constexpr Register kEdx{"edx", &kvm_cpuid_entry2::edx};

/// Registers whose bits are features: what a guest was shown must be there.
struct FeatureRegister {
    uint32_t function;
    uint32_t index;
    Register reg;
};
constexpr FeatureRegister kFeatureRegisters[] = {
    {0x1, 0, kEcx},        {0x1, 0, kEdx},        {0x6, 0, kEax},        {0x7, 0, kEbx},
    {0x7, 0, kEcx},        {0x7, 0, kEdx},        {0x7, 1, kEax},        {0x7, 2, kEdx},
    {0xd, 0, kEax},        {0xd, 1, kEax},        {0xd, 1, kEcx},        {0x40000001, 0, kEax},
    {0x80000001, 0, kEcx}, {0x80000001, 0, kEdx}, {0x80000008, 0, kEbx}, {0x80000021, 0, kEax},
    {0x80000021, 0, kEcx},
};
/// Registers that must be equal: the vendor, and KVM's signature.
constexpr FeatureRegister kIdentityRegisters[] = {
    {0x0, 0, kEbx},        {0x0, 0, kEcx},        {0x0, 0, kEdx},
    {0x40000000, 0, kEbx}, {0x40000000, 0, kEcx}, {0x40000000, 0, kEdx},
};

uint32_t value_in(std::span<const kvm_cpuid_entry2> leaves, const FeatureRegister& which) {
    for (const kvm_cpuid_entry2& leaf : leaves)
        if (leaf.function == which.function && leaf.index == which.index)
            return leaf.*which.reg.value;
    return 0;
}

Error unlike(const kvm_cpuid_entry2& leaf, const Register& reg, std::string_view what) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("CPUID leaf {:#x}, index {}, {}: {}", uint32_t{leaf.function},
                             uint32_t{leaf.index}, reg.name, what)};
}

/// Of registers that the baseline shows nothing of, only AMD's count of cores isn't zero.
Status check_hidden_registers(const kvm_cpuid_entry2& leaf) {
    const LeafMask& mask = *find_mask(leaf);
    const std::pair<Register, uint32_t> registers[] = {
        {kEax, mask.eax}, {kEbx, mask.ebx}, {kEcx, mask.ecx}, {kEdx, mask.edx}};
    for (const auto& [reg, shown] : registers) {
        if (leaf.function == 0x80000008 && reg.value == kEcx.value) continue;
        if (shown == 0 && leaf.*reg.value != 0)
            return unlike(leaf, reg,
                          fmt::format("{:#x}, which no baseline shows", leaf.*reg.value));
    }
    return ok();
}

Status check_leaf(const kvm_cpuid_entry2& leaf, std::span<const kvm_cpuid_entry2> host) {
    constexpr uint32_t kAddressBits = 0xff;
    if (find_mask(leaf) == nullptr) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("CPUID leaf {:#x}, index {}: not in the baseline {}",
                                 uint32_t{leaf.function}, uint32_t{leaf.index}, kCpuBaseline)};
    }
    TRY(check_hidden_registers(leaf));
    const auto is_of = [&](const FeatureRegister& which) {
        return which.function == leaf.function && which.index == leaf.index;
    };
    for (const FeatureRegister& which : kFeatureRegisters) {
        if (!is_of(which)) continue;
        const uint32_t missing = leaf.*which.reg.value & ~value_in(host, which);
        if (missing != 0)
            return unlike(leaf, which.reg, fmt::format("this host lacks the bits {:#x}", missing));
    }
    for (const FeatureRegister& which : kIdentityRegisters) {
        if (!is_of(which)) continue;
        const uint32_t here = value_in(host, which);
        if (leaf.*which.reg.value != here) {
            return unlike(leaf, which.reg,
                          fmt::format("{:#x}, this host has {:#x}", leaf.*which.reg.value, here));
        }
    }
    if (leaf.function == 0x80000008) {
        const uint32_t here = value_in(host, {0x80000008, 0, kEax}) & kAddressBits;
        const uint32_t saved = leaf.eax & kAddressBits;
        if (saved > here) {
            return unlike(
                leaf, kEax,
                fmt::format("{} bits of physical address, this host has {}", saved, here));
        }
    }
    return ok();
}

}  // namespace

Status check_cpuid(std::span<const kvm_cpuid_entry2> saved,
                   std::span<const kvm_cpuid_entry2> host) {
    for (const kvm_cpuid_entry2& leaf : saved) {
        TRY(check_leaf(leaf, host));
    }
    return ok();
}

uint64_t supported_xcr0(std::span<const kvm_cpuid_entry2> leaves) {
    for (const kvm_cpuid_entry2& entry : leaves)
        if (entry.function == 0xd && entry.index == 0) return entry.eax;
    return 0;
}

std::vector<kvm_cpuid_entry2> baseline_cpuid(std::span<const kvm_cpuid_entry2> supported,
                                             const CpuidOptions& options) {
    std::vector<kvm_cpuid_entry2> out;
    out.reserve(supported.size());
    for (kvm_cpuid_entry2 entry : supported) {
        const LeafMask* const mask = find_mask(entry);
        if (mask == nullptr || entry.function == 0xb) continue;
        entry.eax &= mask->eax;
        entry.ebx &= mask->ebx;
        entry.ecx &= mask->ecx;
        entry.edx &= mask->edx;
        // A guest finds the extended topology at 0xb only if the range reaches it: always say so.
        if (entry.function == 0x0) entry.eax = kMaxBasic;
        if (entry.function == 0xd && entry.index == 0)
            entry.ecx = (entry.eax & kStateAvx) != 0 ? kXsaveBytesAvx : kXsaveBytesSse;
        if (entry.function == 0x40000000) entry.eax = 0x40000001;
        if (entry.function == 0x80000000) entry.eax = std::min(entry.eax, kMaxExtended);
        set_topology(entry, options);
        out.push_back(entry);
    }
    append_extended_topology(out, options);
    return out;
}

}  // namespace drupe::arch
