#include "vmm/snapshot/vm_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace drupe {
namespace {

using ::testing::HasSubstr;

VmState made_up_state() {
    VmState state;
    state.memory_bytes = 4 << 20;
    state.tsc_khz = 2'500'000;
    state.clock_ns = 123'456'789;
    for (uint32_t id = 0; id < 3; ++id) state.irqchips[id].chip_id = id;
    for (uint64_t i = 1; i <= 2; ++i) {
        VcpuState& vcpu = state.vcpus.emplace_back();
        vcpu.cpuid.resize(3);
        vcpu.cpuid[2].eax = 7;
        vcpu.regs.rip = 0x1000 * i;
        vcpu.xsave = std::string(4096, static_cast<char>(i));
        vcpu.msrs.resize(2);
        vcpu.msrs[1].index = 0x174;
        vcpu.msrs[1].data = i;
        vcpu.tsc = 1'000 * i;
        if (i == 1) vcpu.tsc_offset = 17;
    }
    return state;
}

constexpr size_t kVcpusAt = 20 + 3 * sizeof(kvm_irqchip) + sizeof(kvm_pit_state2);

std::string message_of(const std::string& bytes) {
    const auto decoded = decode_vm_state(bytes);
    return decoded ? "" : decoded.error().message;
}

TEST(VmStateTest, ComesBackFromItsBytes) {
    const std::string bytes = encode_vm_state(made_up_state());
    const auto decoded = decode_vm_state(bytes);
    ASSERT_TRUE(decoded);
    const VmState& state = decoded.value();
    EXPECT_EQ(state.memory_bytes, 4U << 20);
    EXPECT_EQ(state.tsc_khz, 2'500'000U);
    EXPECT_EQ(state.clock_ns, 123'456'789U);
    ASSERT_EQ(state.vcpus.size(), 2U);
    EXPECT_EQ(state.vcpus[1].regs.rip, 0x2000U);
    EXPECT_EQ(state.vcpus[1].msrs[1].data, 2U);
    EXPECT_EQ(state.vcpus[0].tsc_offset, 17U);
    EXPECT_FALSE(state.vcpus[1].tsc_offset);
    EXPECT_EQ(encode_vm_state(state), bytes);
}

TEST(VmStateTest, CutAtAnyByteItIsRefused) {
    const std::string bytes = encode_vm_state(made_up_state());
    for (size_t size = 0; size < bytes.size(); ++size)
        ASSERT_THAT(message_of(bytes.substr(0, size)), HasSubstr("section machine: ")) << size;
    EXPECT_THAT(message_of(bytes.substr(0, bytes.size() - 1)),
                HasSubstr("vCPU 1: tsc_offset can't be read"));
    EXPECT_THAT(message_of(bytes + "x"), HasSubstr("bytes behind its end"));
}

TEST(VmStateTest, CountsAndIdsOutOfRangeAreRefusedByName) {
    const std::string bytes = encode_vm_state(made_up_state());
    const auto with = [&](size_t at, uint32_t value) {
        std::string copy = bytes;
        copy.replace(at, sizeof value, reinterpret_cast<const char*>(&value), sizeof value);
        return message_of(copy);
    };
    EXPECT_THAT(with(20, 1), HasSubstr("irqchip can't be read")) << "the first chip's id";
    EXPECT_THAT(with(kVcpusAt, 0), HasSubstr("vcpus can't be read"));
    EXPECT_THAT(with(kVcpusAt, 33), HasSubstr("vcpus can't be read"));
    EXPECT_THAT(with(kVcpusAt + 4, 257), HasSubstr("vCPU 0: cpuid can't be read"));
    EXPECT_THAT(with(kVcpusAt + 4, UINT32_MAX), HasSubstr("vCPU 0: cpuid can't be read"));
    const size_t xsave_at = kVcpusAt + 8 + 3 * sizeof(kvm_cpuid_entry2) + sizeof(kvm_mp_state) +
                            sizeof(kvm_regs) + sizeof(kvm_sregs);
    EXPECT_THAT(with(xsave_at, (64 << 10) + 1), HasSubstr("vCPU 0: xsave can't be read"));
}

}  // namespace
}  // namespace drupe
