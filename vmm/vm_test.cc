#include "vmm/vm.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>

#include "vmm/power.h"
#include "vmm/testing/tiny_guest.h"

namespace drupe {
namespace {

using testing::Code;
using testing::kTestDevice;
using testing::kTestPort;
using testing::RecordingDevice;
using testing::TinyGuest;
using Access = RecordingDevice::Access;

TEST(VmTest, PortAccessesOfEachWidthReachTheirDevice) {
    TinyGuest guest;
    guest.run(Code()
                  .edx(kTestPort)
                  .eax(0x11223344)
                  .out_al()
                  .out_ax()
                  .out_eax()
                  .edx(kTestPort + 1)
                  .in_eax()
                  .out_eax()
                  .power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    EXPECT_EQ(guest.port->accesses(), (std::vector<Access>{{true, 0, 1, 0x44},
                                                           {true, 0, 2, 0x3344},
                                                           {true, 0, 4, 0x11223344},
                                                           {false, 1, 4, 0},
                                                           {true, 1, 4, 0x44332211}}));
}

TEST(VmTest, AStringOfPortWritesIsOneAccessAnItem) {
    TinyGuest guest;
    guest.run(Code()
                  .edx(kTestPort)
                  .esi(0x100000)  // the code's own first bytes: ba 10 05
                  .ecx(3)
                  .raw({0xf3, 0x6e})  // rep outsb
                  .power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    EXPECT_EQ(guest.port->accesses(),
              (std::vector<Access>{{true, 0, 1, 0xba}, {true, 0, 1, 0x10}, {true, 0, 1, 0x05}}));
}

TEST(VmTest, MmioAccessesOfEachWidthReachTheirDevice) {
    TinyGuest guest;
    guest.run(Code()
                  .edi(kTestDevice + 0x10)
                  .eax(0x55667788)
                  .store_al()
                  .store_ax()
                  .store_eax()
                  .store_rax()
                  .load_eax()
                  .store_eax()
                  .power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    EXPECT_EQ(guest.mmio->accesses(), (std::vector<Access>{{true, 0x10, 1, 0x88},
                                                           {true, 0x10, 2, 0x7788},
                                                           {true, 0x10, 4, 0x55667788},
                                                           {true, 0x10, 8, 0x55667788},
                                                           {false, 0x10, 4, 0},
                                                           {true, 0x10, 4, 0x44332211}}));
}

TEST(VmTest, WhereNoDeviceIsReadsGiveOnesAndWritesAreDropped) {
    TinyGuest guest;
    guest.run(Code()
                  .edx(0x999)
                  .eax(1)
                  .out_al()
                  .in_eax()
                  .edx(kTestPort)
                  .out_eax()
                  .edi(0xd8000001)
                  .store_rax()  // unaligned
                  .eax(0)
                  .load_eax()
                  .edx(kTestPort)
                  .out_eax()
                  .power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    EXPECT_EQ(guest.port->accesses(),
              (std::vector<Access>{{true, 0, 4, UINT32_MAX}, {true, 0, 4, UINT32_MAX}}));
}

TEST(VmTest, AnUnalignedAccessAcrossADevicesEndIsContained) {
    TinyGuest guest;
    guest.run(Code().edi(kTestDevice + 0xffd).eax(0x01020304).store_eax().load_eax().power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    for (const Access& access : guest.mmio->accesses()) EXPECT_LT(access.offset, 0x1000U);
}

TEST(VmTest, AStormOfPortWritesDoesntGrowTheLog) {
    ::testing::internal::CaptureStderr();
    set_log_level(LogLevel::kDebug);
    TinyGuest guest;
    guest.run(Code()
                  .edx(0x999)
                  .ecx(20000)
                  .raw({0xee, 0xff, 0xc9, 0x75, 0xfb})  // out; dec ecx; jnz out
                  .power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    set_log_level(LogLevel::kInfo);
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_LT(std::count(log.begin(), log.end(), '\n'), 32);
}

TEST(VmTest, TheWaysToEndAreToldApart) {
    const auto end_of = [](const Code& code) {
        TinyGuest guest;
        guest.run(code);
        return guest.wait().reason;
    };
    EXPECT_EQ(end_of(Code().power_off()), StopReason::kPowerOff);
    EXPECT_EQ(end_of(Code().write_mmio(arch::kPowerRegister, kResetValue).forever()),
              StopReason::kReset);
    EXPECT_EQ(end_of(Code().edx(0x64).eax(0xfe).out_al().forever()), StopReason::kReset);
    EXPECT_EQ(end_of(Code().edx(0xcf9).eax(0x06).out_al().forever()), StopReason::kReset);
    EXPECT_EQ(end_of(Code().edi(arch::kPanicRegister).eax(1).store_al().forever()),
              StopReason::kPanic);
    EXPECT_EQ(end_of(Code().raw({0x0f, 0x0b})), StopReason::kTripleFault);
}

TEST(VmTest, WritesThatMeanNothingToThePowerDevicesDontEndTheMachine) {
    TinyGuest guest;
    guest.run(Code()
                  .write_mmio(arch::kPowerRegister, 1)
                  .write_mmio(arch::kPowerRegister + 8, kPowerOffValue)
                  .write_mmio(arch::kPanicRegister, 2)
                  .edx(0x64)
                  .eax(0xd1)
                  .out_al()
                  .edx(0xcf9)
                  .eax(2)
                  .out_al()
                  .report(0x42)
                  .forever());
    EXPECT_TRUE(guest.port->wait_for(1));
    EXPECT_FALSE(guest.vm().stopped());
}

TEST(VmTest, CodeRunFromADeviceEndsThatMachineWithAReason) {
    TinyGuest guest;
    guest.run(Code().eax(static_cast<uint32_t>(kTestDevice)).raw({0xff, 0xe0}));  // jmp rax
    const Stop stop = guest.wait();
    // KVM may read the instruction from the device, or give up; the machine ends in either case or
    // is still ours to end.
    EXPECT_FALSE(stop.detail.empty());
}

TEST(VmTest, ADoorbellRingsItsEventfdAndNothingElse) {
    TinyGuest guest;
    const Fd any_value = std::move(make_eventfd()).value();
    const Fd one_value = std::move(make_eventfd()).value();
    ASSERT_TRUE(guest.vm().add_doorbell({kTestDevice + 0x50, 4, 1, false}, one_value.get()));
    ASSERT_TRUE(guest.vm().add_doorbell({kTestPort + 2, 1, std::nullopt, true}, any_value.get()));
    guest.run(Code()
                  .write_mmio(kTestDevice + 0x50, 1)
                  .write_mmio(kTestDevice + 0x50, 1)
                  .write_mmio(kTestDevice + 0x50, 2)
                  .edx(kTestPort + 2)
                  .out_al()
                  .power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    EXPECT_EQ(drain_eventfd(one_value.get()), 2U);
    EXPECT_EQ(drain_eventfd(any_value.get()), 1U);
    EXPECT_EQ(guest.mmio->accesses(), (std::vector<Access>{{true, 0x50, 4, 2}}));
    EXPECT_TRUE(guest.port->accesses().empty());
}

/// Puts vCPU 0 into real mode at 0x1000, with interrupt vector 5 at 0x1100.
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
    ASSERT_TRUE(vm.memory().write<uint32_t>(5 * 4, 0x1100));
}

void put_code(const Vm& vm, uint64_t address, std::initializer_list<uint8_t> code) {
    for (const uint8_t byte : code) ASSERT_TRUE(vm.memory().write(address++, byte));
}

TEST(VmTest, AnInterruptWakesAHaltedGuest) {
    TinyGuest guest;
    const auto interrupt = std::move(guest.vm().make_interrupt(5)).value();
    set_real_mode(guest.vm());
    // mov dx, kTestPort; mov al, 1; out dx, al; sti; 1: hlt; jmp 1b
    put_code(guest.vm(), 0x1000, {0xba, 0x10, 0x05, 0xb0, 0x01, 0xee, 0xfb, 0xf4, 0xeb, 0xfd});
    // Handler: mov al, 2; out dx, al; mov al, 0x20; out 0x20, al (end of interrupt); iret
    put_code(guest.vm(), 0x1100, {0xb0, 0x02, 0xee, 0xb0, 0x20, 0xe6, 0x20, 0xcf});
    guest.start();
    ASSERT_TRUE(guest.port->wait_for(1));
    for (size_t n = 1; n <= 3; ++n) {
        interrupt->trigger();
        ASSERT_TRUE(guest.port->wait_for(1 + n)) << "interrupt " << n;
    }
    EXPECT_FALSE(guest.vm().stopped());
}

TEST(VmTest, ASecondCpuStartsByInitAndSipi) {
    TinyGuest guest({4 << 20, 2, false});
    // 16-bit, for the second CPU, at 0x8000: mov dx, kTestPort; mov al, 0x77; out dx, al; hlt
    put_code(guest.vm(), 0x8000, {0xba, 0x10, 0x05, 0xb0, 0x77, 0xee, 0xf4, 0xeb, 0xfd});
    guest.run(Code()
                  .write_mmio(arch::kLapic + 0x310, 1U << 24)  // to APIC 1
                  .write_mmio(arch::kLapic + 0x300, 0x4500)    // INIT
                  .write_mmio(arch::kLapic + 0x300, 0x4608)    // SIPI, page 8
                  .forever());
    EXPECT_TRUE(guest.port->wait_for(1));
    EXPECT_EQ(guest.port->accesses(), (std::vector<Access>{{true, 0, 1, 0x77}}));
    EXPECT_FALSE(guest.vm().stopped());
}

TEST(VmTest, APausedGuestDoesNothingAndGoesOnWhereItWas) {
    TinyGuest guest;
    constexpr uint64_t kLoop = 0x100000 + 10;  // after two moves of 5 bytes
    // 1: inc eax; out dx, eax; jmp 1b
    guest.run(Code().edx(kTestPort).eax(0).raw({0xff, 0xc0, 0xef, 0xeb, 0xfb}));
    ASSERT_TRUE(guest.port->wait_for(1));
    for (int round = 0; round < 20; ++round) {
        ASSERT_TRUE(guest.vm().pause());
        const size_t before = guest.port->count();
        const kvm_regs regs = guest.vm().vcpu(0).kvm().regs().value();
        // The I/O of the last exit is complete: all that was counted in eax was seen, and no `out`
        // is half done (it is the instruction at kLoop + 2).
        EXPECT_EQ(regs.rax - (regs.rip == kLoop + 2 ? 1 : 0), before);
        EXPECT_EQ(guest.port->count(), before);
        ASSERT_TRUE(guest.vm().resume());
        ASSERT_TRUE(guest.port->wait_for(before + 1));
    }
    const std::vector<Access> accesses = guest.port->accesses();
    for (size_t i = 0; i < accesses.size(); ++i) ASSERT_EQ(accesses[i].value, i + 1);
}

TEST(VmTest, PauseReachesCpusThatHaltOrWaitForTheirStart) {
    TinyGuest guest({4 << 20, 3, false});
    guest.run(Code().report(1).hlt().forever());
    ASSERT_TRUE(guest.port->wait_for(1));
    ASSERT_TRUE(guest.vm().pause());
    EXPECT_TRUE(guest.vm().pause()) << "a second pause changes nothing";
    ASSERT_TRUE(guest.vm().resume());
    EXPECT_FALSE(guest.vm().resume());
    EXPECT_FALSE(guest.vm().stopped());
}

TEST(VmTest, ItIsHaltedWhenAllOfItsCpusWait) {
    TinyGuest guest({4 << 20, 3, false});
    guest.run(Code().report(1).hlt().forever());
    ASSERT_TRUE(guest.port->wait_for(1));
    bool halted = false;
    for (int i = 0; i < 1000 && !halted; ++i) {
        ASSERT_TRUE(guest.vm().pause());
        halted = guest.vm().halted().value();
        ASSERT_TRUE(guest.vm().resume());
    }
    EXPECT_TRUE(halted);
    TinyGuest busy;
    busy.run(Code().report(1).forever());
    ASSERT_TRUE(busy.port->wait_for(1));
    const auto before = busy.vm().cpu_time();
    ASSERT_TRUE(busy.vm().pause());
    EXPECT_FALSE(busy.vm().halted().value());
    ASSERT_TRUE(busy.vm().resume());
    for (int i = 0; i < 1000 && busy.vm().cpu_time() == before; ++i) ::usleep(1000);
    EXPECT_GT(busy.vm().cpu_time(), before);
}

TEST(VmTest, APausedOrSpinningGuestCanBeStopped) {
    for (const bool paused : {false, true}) {
        TinyGuest guest;
        guest.run(Code().report(1).forever());
        ASSERT_TRUE(guest.port->wait_for(1));
        if (paused) {
            ASSERT_TRUE(guest.vm().pause());
        }
        guest.vm().request_stop({StopReason::kRequested, "by the test"});
        guest.vm().request_stop({StopReason::kHostError, "too late"});
        guest.vm().join();
        EXPECT_EQ(guest.vm().stopped()->detail, "by the test");
        EXPECT_EQ(guest.stop_count(), 1U);
        EXPECT_FALSE(guest.vm().pause());
    }
}

TEST(VmTest, AThreadThatCantBeSetUpStopsTheMachineBeforeTheGuestRuns) {
    TinyGuest guest({4 << 20, 2, false});
    guest.load(Code().report(1).forever());
    guest.start([](uint32_t vcpu) -> Status {
        if (vcpu == 1) return Error{ErrorCode::kDenied, "no filter"};
        return ok();
    });
    const Stop stop = guest.wait();
    EXPECT_EQ(stop.reason, StopReason::kHostError);
    EXPECT_EQ(stop.detail, "set up vcpu1's thread: no filter");
}

TEST(VmTest, StatisticsCountExits) {
    TinyGuest guest({4 << 20, 1, true});
    guest.run(Code().report(1).report(2).power_off());
    EXPECT_EQ(guest.wait().reason, StopReason::kPowerOff);
    EXPECT_GT(guest.vm().first_run_ns(), 0U);
    const auto statistics = guest.vm().statistics();
    EXPECT_TRUE(statistics.contains("exits"));
    EXPECT_TRUE(statistics.contains("io_exits"));
}

TEST(VmTest, SlotsHaveAddressesAndLinesOfTheirOwnUntilThereAreNoMore) {
    TinyGuest guest;
    std::vector<uint32_t> gsis;
    for (size_t i = 0; i < arch::kMmioSlots; ++i) {
        const MmioSlot slot = guest.vm().allocate_slot().value();
        EXPECT_EQ(slot.address, arch::kMmioWindow + i * 0x1000);
        EXPECT_EQ(std::count(gsis.begin(), gsis.end(), slot.gsi), 0);
        EXPECT_LT(slot.gsi, arch::kIoapicPins);
        gsis.push_back(slot.gsi);
    }
    const auto more = guest.vm().allocate_slot();
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().code, ErrorCode::kLimit);
}

TEST(VmTest, ConfigurationsOutOfRangeAreRefused) {
    const Kvm kvm = std::move(testing::open_kvm()).value();
    for (const VmConfig& config :
         {VmConfig{0, 1, false}, VmConfig{4097, 1, false}, VmConfig{(128 << 20) + 1, 1, false},
          VmConfig{128 << 20, 0, false}, VmConfig{128 << 20, 33, false},
          VmConfig{1ULL << 41, 1, false}}) {
        const auto vm = Vm::create(kvm, config);
        ASSERT_FALSE(vm);
        EXPECT_EQ(vm.error().code, ErrorCode::kInvalid);
    }
}

TEST(VmTest, DevicesCantBePutWhereRamCanBe) {
    TinyGuest guest;
    const auto device = std::make_shared<RecordingDevice>();
    EXPECT_FALSE(guest.vm().attach_mmio(0x1000, 0x1000, device));
    EXPECT_FALSE(guest.vm().attach_mmio(arch::kGapEnd, 0x1000, device));
    EXPECT_FALSE(guest.vm().attach_mmio(arch::kGapEnd - 1, 2, device));
    EXPECT_FALSE(guest.vm().attach_mmio(arch::kPowerRegister, 4, device));
}

TEST(KvmTest, ADescriptorThatIsntKvmIsRefused) {
    const auto kvm = Kvm::create(std::move(open_file("/dev/null", O_RDWR)).value());
    ASSERT_FALSE(kvm);
    EXPECT_EQ(kvm.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace drupe
