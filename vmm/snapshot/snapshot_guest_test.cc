#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "vmm/snapshot/memory_file.h"
#include "vmm/snapshot/state_file.h"
#include "vmm/snapshot/vm_state.h"
#include "vmm/testing/memfd.h"
#include "vmm/testing/tiny_guest.h"
#include "vmm/vmgenid.h"

namespace drupe {
namespace {

using testing::Code;
using ::testing::HasSubstr;
using testing::kTestPort;
using testing::RecordingDevice;
using testing::TinyGuest;
using Access = RecordingDevice::Access;

/// What is left of a machine when its process has ended: two files.
struct Snapshot {
    std::string state;
    Fd memory;
};

Snapshot save(TinyGuest& guest) {
    Snapshot snapshot;
    snapshot.memory = testing::make_memfd({});
    const auto state = save_vm(guest.vm());
    EXPECT_TRUE(state) << state.error().message;
    const auto pages = write_memory(guest.vm().memory(), snapshot.memory.get());
    EXPECT_TRUE(pages) << pages.error().message;
    const StateSection sections[] = {
        {std::string(kVmSection), kVmSectionVersion, encode_vm_state(state.value())},
        {std::string(kMemorySection), kMemorySectionVersion, encode_memory_pages(pages.value())}};
    snapshot.state = encode_state_file(sections);
    return snapshot;
}

Status restore(TinyGuest& guest, const Snapshot& snapshot) {
    TRY_ASSIGN(const auto sections, decode_state_file(snapshot.state));
    TRY_ASSIGN(const auto memory, find_section(sections, kMemorySection, kMemorySectionVersion));
    TRY_ASSIGN(const MemoryPages pages, decode_memory_pages(memory));
    TRY(map_memory(guest.vm().memory(), snapshot.memory.get(), pages));
    TRY_ASSIGN(const auto machine, find_section(sections, kVmSection, kVmSectionVersion));
    TRY_ASSIGN(const VmState state, decode_vm_state(machine));
    return restore_vm(guest.vm(), state);
}

/// Saves the first and ends it, and lets the second go on.
void move(TinyGuest& from, TinyGuest& to) {
    ASSERT_TRUE(from.vm().pause());
    const Snapshot snapshot = save(from);
    from.vm().request_stop({StopReason::kRequested, "saved"});
    from.vm().join();
    const Status restored = restore(to, snapshot);
    ASSERT_TRUE(restored) << restored.error().message;
    to.start();
}

void put_code(const Vm& vm, uint64_t address, std::initializer_list<uint8_t> code) {
    for (const uint8_t byte : code) ASSERT_TRUE(vm.memory().write(address++, byte));
}

TEST(SnapshotTest, AGuestGoesOnCountingWhereItStopped) {
    TinyGuest first;
    // 1: inc eax; inc qword [rdi]; out dx, eax; jmp 1b
    first.run(Code().edx(kTestPort).edi(0x200000).eax(0).raw(
        {0xff, 0xc0, 0x48, 0xff, 0x07, 0xef, 0xeb, 0xf8}));
    ASSERT_TRUE(first.port->wait_for(20));
    TinyGuest second;
    move(first, second);
    ASSERT_TRUE(second.port->wait_for(20));
    ASSERT_TRUE(second.vm().pause());
    // The counts of both guests are one row without a gap, in the register and in memory.
    const size_t before = first.port->count();
    const auto accesses = second.port->accesses();
    for (size_t i = 0; i < accesses.size(); ++i) ASSERT_EQ(accesses[i].value, before + i + 1);
    const uint64_t counted = second.vm().memory().read<uint64_t>(0x200000).value();
    const uint64_t reported = before + second.port->count();
    EXPECT_TRUE(counted == reported || counted == reported + 1) << counted << ' ' << reported;
}

TEST(SnapshotTest, TwoRestoresOfOneSnapshotDontShareTheirMemory) {
    TinyGuest first;
    first.run(Code().edx(kTestPort).edi(0x200000).raw(
        {0xff, 0x07, 0x8b, 0x07, 0xef, 0xeb, 0xf9}));  // inc [rdi]; eax = [rdi]; out
    ASSERT_TRUE(first.port->wait_for(5));
    ASSERT_TRUE(first.vm().pause());
    const Snapshot snapshot = save(first);
    ASSERT_TRUE(first.vm().resume());
    ASSERT_TRUE(first.port->wait_for(first.port->count() + 5)) << "the saved one goes on, too";
    ASSERT_TRUE(first.vm().pause());
    for (int i = 0; i < 2; ++i) {
        TinyGuest next;
        ASSERT_TRUE(restore(next, snapshot));
        next.start();
        ASSERT_TRUE(next.port->wait_for(10));
        ASSERT_TRUE(next.vm().pause());
        const auto accesses = next.port->accesses();
        for (size_t k = 1; k < accesses.size(); ++k)
            ASSERT_EQ(accesses[k].value, accesses[k - 1].value + 1);
        EXPECT_LT(accesses[0].value, first.port->count() - 3);
    }
}

TEST(SnapshotTest, TheTscNeverGoesBack) {
    TinyGuest first;
    // 1: rdtsc; out dx, eax (low); xchg; out (high); jmp 1b, with the port kept in ebx
    const Code code =
        Code().raw({0xbb}).imm32(kTestPort).raw({0x0f, 0x31,        // rdtsc
                                                 0x89, 0xd1,        // mov ecx, edx
                                                 0x89, 0xda, 0xef,  // out
                                                 0x89, 0xc8, 0xef,  // mov eax, ecx; out
                                                 0xeb, 0xf4});
    first.run(code);
    ASSERT_TRUE(first.port->wait_for(40));
    TinyGuest second;
    move(first, second);
    ASSERT_TRUE(second.port->wait_for(40));
    ASSERT_TRUE(second.vm().pause());
    // One of the pairs may have been cut in two by the move.
    const bool cut = first.port->count() % 2 != 0;
    auto words = first.port->accesses();
    words.resize(words.size() / 2 * 2);
    const auto more = second.port->accesses();
    words.insert(words.end(), more.begin() + (cut ? 1 : 0), more.end());
    uint64_t last = 0;
    for (size_t i = 0; i + 1 < words.size(); i += 2) {
        const uint64_t tsc = words[i].value | words[i + 1].value << 32;
        ASSERT_GT(tsc, last) << i;
        last = tsc;
    }
}

TEST(SnapshotTest, TscsGoOnFromTheirValuesAsFarApartAsTheyWere) {
    const VmConfig two{4 << 20, 2, false};
    TinyGuest first(two);
    first.run(Code().report(1).forever());
    ASSERT_TRUE(first.port->wait_for(1));
    ASSERT_TRUE(first.vm().pause());
    VmState state = save_vm(first.vm()).value();
    // As if saved on a host that runs for longer, of a guest that has set its second TSC ahead.
    constexpr uint64_t kYear = 86'400ULL * 365 * 2'500'000'000;
    constexpr uint64_t kAhead = 1'000'000'000'000;
    for (VcpuState& vcpu : state.vcpus) {
        vcpu.tsc += kYear;
        if (vcpu.tsc_offset) vcpu.tsc_offset = *vcpu.tsc_offset + kYear;
    }
    state.vcpus[1].tsc += kAhead;
    ASSERT_TRUE(state.vcpus[1].tsc_offset) << "no KVM_VCPU_TSC_OFFSET: Linux 5.16 has it";
    state.vcpus[1].tsc_offset = *state.vcpus[1].tsc_offset + kAhead;

    TinyGuest second(two);
    const Status restored = restore_vm(second.vm(), state);
    if (!restored) {
        // A host whose guests see its own TSC, whatever they are given.
        EXPECT_EQ(restored.error().code, ErrorCode::kUnsupported);
        EXPECT_THAT(restored.error().message, HasSubstr("vCPU 0: its TSC was at "));
        return;
    }
    const auto now = [&](uint32_t vcpu) { return second.vm().vcpu(vcpu).kvm().msr(0x10).value(); };
    const uint64_t tsc = now(0);
    EXPECT_GE(tsc, state.vcpus[0].tsc);
    EXPECT_LT(tsc, state.vcpus[0].tsc + kAhead / 10);
    const uint64_t other = now(1);
    EXPECT_GE(other, tsc + kAhead);
    EXPECT_LT(other, tsc + kAhead + kAhead / 10);
}

/// Runs `load`, saves and restores, runs `store`; both with rdi = kData. False if this host can't:
/// one that emulates ring 0 hasn't all instructions.
constexpr uint64_t kData = 0x201000;
bool keeps_registers(const Code& load, const Code& store, TinyGuest& second) {
    TinyGuest first;
    put_code(first.vm(), kData, {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
                                 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01, 0x00, 0x00, 0xc0, 0x3f});
    Code code;
    code.raw({0x0f, 0x20, 0xe0, 0x66, 0x0d, 0x00, 0x06, 0x0f, 0x22, 0xe0})  // cr4 |= OSFXSR
        .edi(kData)
        .append(load)
        .report(1)
        .raw({0x80, 0x7f, 0x20, 0x00, 0x74, 0xfa})  // 1: cmp byte [rdi + 0x20], 0; je 1b
        .append(store)
        .report(2)
        .forever();
    first.run(code);
    while (first.port->count() == 0) {
        if (first.vm().stopped()) return false;
        std::this_thread::yield();
    }
    EXPECT_TRUE(first.vm().pause());
    EXPECT_TRUE(restore(second, save(first)));
    EXPECT_TRUE(second.vm().memory().write<uint8_t>(kData + 0x20, 1));
    second.start();
    EXPECT_TRUE(second.port->wait_for(1));
    EXPECT_TRUE(second.vm().pause());
    return true;
}

TEST(SnapshotTest, VectorRegistersComeBack) {
    TinyGuest second;
    ASSERT_TRUE(keeps_registers(Code().raw({0x0f, 0x10, 0x0f}),        // movups xmm1, [rdi]
                                Code().raw({0x0f, 0x11, 0x4f, 0x30}),  // movups [rdi + 0x30], xmm1
                                second));
    EXPECT_EQ(second.vm().memory().read<uint64_t>(kData + 0x30), 0x8877665544332211U);
    EXPECT_EQ(second.vm().memory().read<uint64_t>(kData + 0x38), 0x01ffeeddccbbaa99U);
}

TEST(SnapshotTest, TheFloatingPointStackComesBack) {
    TinyGuest second;
    ASSERT_TRUE(keeps_registers(Code().raw({0xd9, 0x47, 0x10}),  // fld dword [rdi + 16]: 1.5
                                Code().raw({0xd9, 0x5f, 0x30}),  // fstp dword [rdi + 0x30]
                                second));
    EXPECT_EQ(second.vm().memory().read<uint32_t>(kData + 0x30), 0x3fc00000U);
}

/// Puts vCPU 0 into real mode at 0x1000, with interrupt vector 0, the timer's, at 0x1100.
void set_real_mode(Vm& vm) {
    const KvmVcpu& vcpu = vm.vcpu(0).kvm();
    kvm_sregs sregs = vcpu.sregs().value();
    sregs.cs.base = sregs.ds.base = sregs.es.base = sregs.ss.base = 0;
    sregs.cs.selector = sregs.ds.selector = sregs.es.selector = sregs.ss.selector = 0;
    ASSERT_TRUE(vcpu.set_sregs(sregs));
    kvm_regs regs{};
    regs.rip = 0x1000;
    regs.rsp = 0x800;
    regs.rflags = 2;
    ASSERT_TRUE(vcpu.set_regs(regs));
    ASSERT_TRUE(vm.memory().write<uint32_t>(0, 0x1100));
}

TEST(SnapshotTest, ATimerInterruptThatIsPendingArrivesAfterTheRestore) {
    TinyGuest first;
    set_real_mode(first.vm());
    // cli; the timer's channel 0 in mode 0, count 16; wait for the PIC to have IRQ 0 requested;
    // report 1; wait for a word in memory; then sti; hlt
    put_code(first.vm(), 0x1000, {0xfa, 0xb0, 0x30, 0xe6, 0x43, 0xb0, 0x10,
                                  0xe6, 0x40, 0xb0, 0x00, 0xe6, 0x40,        // out 0x40
                                  0xb0, 0x0a, 0xe6, 0x20, 0xe4, 0x20,        // OCW3: read IRR
                                  0xa8, 0x01, 0x74, 0xf6,                    // test al, 1; jz
                                  0xba, 0x10, 0x05, 0xb0, 0x01, 0xee,        // report 1
                                  0x80, 0x3e, 0x00, 0x20, 0x00, 0x74, 0xf9,  // cmp byte [0x2000], 0
                                  0xfb, 0xf4, 0xeb, 0xfd});                  // sti; hlt
    // mov al, 2; out dx, al; mov al, 0x20; out 0x20, al; iret
    put_code(first.vm(), 0x1100, {0xb0, 0x02, 0xee, 0xb0, 0x20, 0xe6, 0x20, 0xcf});
    first.start();
    ASSERT_TRUE(first.port->wait_for(1));
    ASSERT_TRUE(first.vm().pause());
    const Snapshot snapshot = save(first);
    TinyGuest second;
    ASSERT_TRUE(restore(second, snapshot));
    ASSERT_TRUE(second.vm().memory().write<uint8_t>(0x2000, 1));
    second.start();
    ASSERT_TRUE(second.port->wait_for(1));
    EXPECT_EQ(second.port->accesses()[0], (Access{true, 0, 1, 2}));
    EXPECT_FALSE(second.vm().stopped());
}

/// Where 64-bit code at 0x202000 is an interrupt's: reports 0x2a, ends the interrupt, returns.
constexpr uint8_t kVector = 0x40;
void set_idt(Vm& vm) {
    constexpr uint64_t kIdt = 0x203000;
    constexpr uint64_t kHandler = 0x202000;
    put_code(vm, kHandler, {0x66, 0xba, 0x10, 0x05, 0xb0, 0x2a, 0xee,          // out 0x510, 0x2a
                            0xb8, 0xb0, 0x00, 0xe0, 0xfe,                      // eax = EOI
                            0xc7, 0x00, 0x00, 0x00, 0x00, 0x00, 0x48, 0xcf});  // iretq
    ASSERT_TRUE(vm.memory().write<uint64_t>(
        kIdt + 16 * kVector,
        (kHandler & 0xffff) | 0x10ULL << 16 | 0x8eULL << 40 | (kHandler >> 16 & 0xffff) << 48));
    const KvmVcpu& vcpu = vm.vcpu(0).kvm();
    kvm_sregs sregs = vcpu.sregs().value();
    sregs.idt.base = kIdt;
    sregs.idt.limit = 0xfff;
    ASSERT_TRUE(vcpu.set_sregs(sregs));
}

TEST(SnapshotTest, ALocalApicsTimerGoesOn) {
    TinyGuest first;
    Code code;
    code.write_mmio(arch::kLapic + 0xf0, 0x1ff)         // on
        .write_mmio(arch::kLapic + 0x3e0, 0xb)          // divide by 1
        .write_mmio(arch::kLapic + 0x320, kVector)      // one shot
        .write_mmio(arch::kLapic + 0x380, 400'000'000)  // 0.4 s: KVM's APIC bus has 1 GHz
        .report(1)
        .raw({0xfb, 0xf4, 0xeb, 0xfd});  // sti; 1: hlt; jmp 1b
    first.load(code);
    set_idt(first.vm());
    first.start();
    ASSERT_TRUE(first.port->wait_for(1));
    ASSERT_TRUE(first.vm().pause());
    ASSERT_EQ(first.port->count(), 1U) << "the timer was too fast for this host";
    const Snapshot snapshot = save(first);
    TinyGuest second;
    ASSERT_TRUE(restore(second, snapshot));
    second.start();
    ASSERT_TRUE(second.port->wait_for(1));
    EXPECT_EQ(second.port->accesses()[0], (Access{true, 0, 1, 0x2a}));
}

TEST(SnapshotTest, ACopyHearsOfItsGenerationIdBeforeAllElse) {
    TinyGuest first;
    Code code;
    code.raw({0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1})  // PICs off
        .write_mmio(arch::kLapic + 0xf0, 0x1ff)     // on
        .write_mmio(arch::kIoapic, 0x10 + 2 * arch::kVmGenIdPin)
        .write_mmio(arch::kIoapic + 0x10, kVector)  // fixed, edge, to APIC 0
        .report(1)
        .raw({0xfb, 0xf4, 0x8b, 0x04, 0x25})  // sti; 1: hlt; mov eax, [the id]
        .imm32(arch::kVmGenId)
        .raw({0xef, 0xeb, 0xf5});  // out dx, eax; jmp 1b
    first.load(code);
    set_idt(first.vm());
    first.start();
    ASSERT_TRUE(first.port->wait_for(1));
    ASSERT_TRUE(first.vm().pause());
    const Snapshot snapshot = save(first);
    for (const uint8_t number : {uint8_t{0x11}, uint8_t{0x22}}) {
        TinyGuest next;
        ASSERT_TRUE(restore(next, snapshot));
        VmGenId::Id id;
        id.fill(std::byte{number});
        VmGenId::create(next.vm().memory(), arch::kVmGenId).value().set(id);
        ASSERT_TRUE(next.vm().pulse_line(arch::kVmGenIdPin));
        next.start();
        ASSERT_TRUE(next.port->wait_for(2));
        ASSERT_TRUE(next.vm().pause());
        EXPECT_EQ(next.port->accesses(),
                  (std::vector<Access>{{true, 0, 1, 0x2a}, {true, 0, 4, number * 0x01010101U}}));
    }
    EXPECT_EQ(first.port->count(), 1U);
}

/// Attaches what the second CPU reports to.
std::shared_ptr<RecordingDevice> attach_second_port(Vm& vm) {
    auto device = std::make_shared<RecordingDevice>();
    EXPECT_TRUE(vm.attach_pio(0x520, 1, device));
    return device;
}

/// Each write of a byte is one more than the last.
void expect_counting(const RecordingDevice& before, const RecordingDevice& after) {
    auto accesses = before.accesses();
    if (before.count() > accesses.size()) accesses.clear();  // there is a gap between the two
    for (const Access& access : after.accesses()) accesses.push_back(access);
    for (size_t i = 1; i < accesses.size(); ++i)
        ASSERT_EQ(accesses[i].value, (accesses[i - 1].value + 1) % 256) << i;
}

TEST(SnapshotTest, BothOfTwoCpusGoOn) {
    const VmConfig two{4 << 20, 2, false};
    TinyGuest first(two);
    const auto first_port = attach_second_port(first.vm());
    // The second CPU, 16-bit at 0x8000: mov dx, 0x520; mov al, 0; 1: inc al; out dx, al; jmp 1b
    put_code(first.vm(), 0x8000, {0xba, 0x20, 0x05, 0xb0, 0x00, 0xfe, 0xc0, 0xee, 0xeb, 0xfb});
    first.run(Code()
                  .write_mmio(arch::kLapic + 0x310, 1U << 24)
                  .write_mmio(arch::kLapic + 0x300, 0x4500)
                  .write_mmio(arch::kLapic + 0x300, 0x4608)
                  .edx(kTestPort)
                  .eax(0)
                  .raw({0xfe, 0xc0, 0xee, 0xeb, 0xfb}));
    ASSERT_TRUE(first.port->wait_for(20));
    ASSERT_TRUE(first_port->wait_for(20));
    TinyGuest second(two);
    const auto second_port = attach_second_port(second.vm());
    move(first, second);
    ASSERT_TRUE(second.port->wait_for(20));
    ASSERT_TRUE(second_port->wait_for(20));
    ASSERT_TRUE(second.vm().pause());
    expect_counting(*first.port, *second.port);
    expect_counting(*first_port, *second_port);
}

TEST(SnapshotTest, CpusThatHaltOrWaitForTheirStartGoOnDoingSo) {
    const VmConfig two{4 << 20, 2, false};
    TinyGuest first(two);
    first.run(Code().report(1).hlt().report(2).forever());
    ASSERT_TRUE(first.port->wait_for(1));
    // It tells of its report before it halts.
    const auto has_halted = [&] {
        EXPECT_TRUE(first.vm().pause());
        const bool halted =
            save_vm(first.vm()).value().vcpus[0].mp_state.mp_state == KVM_MP_STATE_HALTED;
        if (!halted) {
            EXPECT_TRUE(first.vm().resume());
        }
        return halted;
    };
    for (int i = 0; !has_halted(); ++i) {
        ASSERT_LT(i, 1000);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const auto state = save_vm(first.vm());
    ASSERT_TRUE(state);
    EXPECT_EQ(state.value().vcpus[1].mp_state.mp_state, uint32_t{KVM_MP_STATE_UNINITIALIZED});
    TinyGuest second(two);
    ASSERT_TRUE(restore(second, save(first)));
    second.start();
    ASSERT_TRUE(second.vm().pause());
    EXPECT_EQ(second.port->count(), 0U);
    const auto again = save_vm(second.vm());
    ASSERT_TRUE(again);
    for (size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(again.value().vcpus[i].mp_state.mp_state,
                  state.value().vcpus[i].mp_state.mp_state);
        EXPECT_EQ(again.value().vcpus[i].regs.rip, state.value().vcpus[i].regs.rip);
    }
}

TEST(SnapshotTest, KvmclockGoesOnWhereItStopped) {
    TinyGuest first;
    first.run(Code().report(1).forever());
    ASSERT_TRUE(first.port->wait_for(1));
    ASSERT_TRUE(first.vm().pause());
    VmState state = save_vm(first.vm()).value();
    EXPECT_GT(state.clock_ns, 0U);
    state.clock_ns += 3'600'000'000'000;  // as if it were an hour old
    TinyGuest second;
    ASSERT_TRUE(restore_vm(second.vm(), state));
    const uint64_t now = second.vm().kvm().clock().value().clock;
    EXPECT_GE(now, state.clock_ns);
    EXPECT_LT(now, state.clock_ns + 60'000'000'000);
}

TEST(SnapshotTest, OnlyAPausedMachineIsSavedAndOnlyAFreshOneOfItsShapeRestored) {
    TinyGuest first;
    EXPECT_EQ(save_vm(first.vm()).error().code, ErrorCode::kConflict);
    first.run(Code().report(1).forever());
    ASSERT_TRUE(first.port->wait_for(1));
    EXPECT_EQ(save_vm(first.vm()).error().code, ErrorCode::kConflict);
    ASSERT_TRUE(first.vm().pause());
    const VmState state = save_vm(first.vm()).value();

    EXPECT_EQ(restore_vm(first.vm(), state).error().code, ErrorCode::kConflict);
    TinyGuest loaded;
    loaded.load(Code().forever());
    EXPECT_EQ(restore_vm(loaded.vm(), state).error().code, ErrorCode::kConflict);
    TinyGuest larger({8 << 20, 1, false});
    EXPECT_EQ(restore_vm(larger.vm(), state).error().code, ErrorCode::kInvalid);
    TinyGuest wider({4 << 20, 2, false});
    EXPECT_EQ(restore_vm(wider.vm(), state).error().message,
              "it is of a machine with 1 vCPUs and 4194304 bytes of memory, this one has 2 and "
              "4194304");
}

TEST(SnapshotTest, WhatThisHostLacksIsNamed) {
    TinyGuest first;
    first.run(Code().report(1).forever());
    ASSERT_TRUE(first.port->wait_for(1));
    ASSERT_TRUE(first.vm().pause());
    const VmState good = save_vm(first.vm()).value();
    const auto why_not = [&](const std::function<void(VmState&)>& change) {
        VmState state = good;
        change(state);
        TinyGuest second;
        const Status restored = restore_vm(second.vm(), state);
        return restored ? std::string() : restored.error().message;
    };
    EXPECT_EQ(why_not([](VmState&) {}), "");
    EXPECT_THAT(
        why_not([](VmState& state) {
            for (kvm_cpuid_entry2& leaf : state.vcpus[0].cpuid)
                if (leaf.function == 7 && leaf.index == 0) leaf.ebx |= 1U << 16;
        }),
        HasSubstr("vCPU 0: CPUID leaf 0x7, index 0, ebx: this host lacks the bits 0x10000"));
    EXPECT_THAT(why_not([](VmState& state) {
                    kvm_msr_entry msr{};
                    msr.index = 0xdeadbeef;
                    msr.data = 0x12;
                    state.vcpus[0].msrs.push_back(msr);
                }),
                HasSubstr("this host refuses 0x12 for MSR 0xdeadbeef"));
    EXPECT_THAT(why_not([](VmState& state) { state.vcpus[0].xsave.resize(60'000); }),
                HasSubstr("60000 bytes of XSAVE state"));
    if (first.vm().kvm().capability(KVM_CAP_TSC_CONTROL) <= 0) {
        EXPECT_THAT(why_not([](VmState& state) { state.tsc_khz *= 2; }),
                    HasSubstr("can't be scaled"));
    }
    EXPECT_EQ(why_not([](VmState& state) { state.tsc_khz += state.tsc_khz / 10'000; }), "")
        << "another calibration of the same clock";
}

TEST(SnapshotTest, OnlyDirtyPagesAreWrittenOverTheFileBelow) {
    TinyGuest first;
    // Counts in memory at 0x300000, from a second report on at 0x310000 instead.
    first.run(Code()
                  .edx(kTestPort)
                  .edi(0x300000)
                  .raw({0x80, 0x3c, 0x25, 0x00, 0x00, 0x20, 0x00, 0x00, 0x74, 0x05})  // [0x200000]?
                  .edi(0x310000)
                  .raw({0xff, 0x07, 0x8b, 0x07, 0xef, 0xeb, 0xea}));
    ASSERT_TRUE(first.port->wait_for(5));
    ASSERT_TRUE(first.vm().pause());
    const Snapshot below = save(first);
    ASSERT_TRUE(first.vm().log_dirty_pages(true));
    ASSERT_TRUE(
        first.vm().memory().write<uint8_t>(0x200000, 1));  // as a device would: KVM doesn't see it
    ASSERT_TRUE(first.vm().resume());
    ASSERT_TRUE(first.port->wait_for(first.port->count() + 20));
    ASSERT_TRUE(first.vm().pause());
    PageBitmaps dirty = first.vm().take_dirty_pages().value();
    EXPECT_EQ(dirty[0][0x310000 / 4096 / 64] >> (0x310 % 64) & 1, 1U);
    dirty[0][0x200000 / 4096 / 64] |= 1ULL << (0x200 % 64);
    const Fd file = testing::make_memfd({});
    const MemoryPages pages = write_memory(first.vm().memory(), file.get(), {}, &dirty).value();
    uint64_t written = 0;
    for (const PageRun& run : pages.runs) written += run.count;
    EXPECT_LT(written, 32U);

    const VmState state = save_vm(first.vm()).value();
    TinyGuest second;
    const GuestMemory& memory = second.vm().memory();
    const MemoryPages all{pages.total, {{0, pages.total}}};
    ASSERT_TRUE(map_memory(memory, below.memory.get(), all));
    ASSERT_TRUE(map_memory(memory, file.get(), pages));
    for (uint64_t address = 0; address < 4 << 20; address += 8)
        ASSERT_EQ(memory.read<uint64_t>(address), first.vm().memory().read<uint64_t>(address))
            << address;
    ASSERT_TRUE(restore_vm(second.vm(), state));
    second.start();
    ASSERT_TRUE(second.port->wait_for(5));
}

}  // namespace
}  // namespace drupe
