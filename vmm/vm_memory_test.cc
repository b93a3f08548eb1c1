// A machine whose RAM is taken away for a while. Where KVM emulates what a guest does instead of
// letting a CPU run it, the guest's access is another error: label kvm.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>

#include "vmm/testing/tiny_guest.h"

namespace drupe {
namespace {

using testing::Code;
using testing::kTestPort;
using testing::TinyGuest;

/// Says what is at kPlace, again and again.
constexpr uint64_t kPlace = 0x180000;
Code reporter() {
    // 1: mov eax, [rdi]; out dx, eax; jmp 1b
    return Code().edx(kTestPort).edi(kPlace).raw({0x8b, 0x07, 0xef, 0xeb, 0xfb});
}

TEST(VmMemoryTest, WithoutMemoryAGuestStandsStillUntilItIsThereAgain) {
    TinyGuest guest;
    std::atomic<int> wanted = 0;
    guest.load(reporter());
    guest.start({}, [&wanted] { ++wanted; });
    EXPECT_FALSE(guest.vm().withhold_memory()) << "it runs";
    const auto all = guest.vm().memory().slice(0, guest.vm().memory().total_size());
    std::vector<std::byte> content(all->size());
    for (uint32_t round = 1; round <= 20; ++round) {
        ASSERT_TRUE(guest.port->wait_for(guest.port->count() + 1));
        ASSERT_TRUE(guest.vm().pause());
        all->copy_to(content);
        ASSERT_TRUE(guest.vm().withhold_memory());
        const size_t before = guest.port->count();
        ASSERT_TRUE(guest.vm().resume());
        for (int i = 0; i < 5000 && wanted != static_cast<int>(round); ++i) ::usleep(1000);
        ASSERT_EQ(wanted, static_cast<int>(round));
        ASSERT_TRUE(guest.vm().pause()) << "who waits for memory is as good as paused";
        EXPECT_LE(guest.port->count(), before + 1);  // the access that was under way
        ASSERT_TRUE(guest.vm().return_memory([&] {
            all->copy_from(content);
            EXPECT_TRUE(guest.vm().memory().write(kPlace, round));
            return ok();
        }));
        ASSERT_TRUE(guest.vm().resume());
        ASSERT_TRUE(guest.port->wait_for(before + 3));
        EXPECT_EQ(guest.port->accesses().at(before + 2).value, round);
    }
    EXPECT_FALSE(guest.vm().stopped());
    EXPECT_FALSE(guest.vm().return_memory([] { return ok(); }));
}

TEST(VmMemoryTest, AGuestWithoutMemoryCanBeStopped) {
    TinyGuest guest;
    guest.load(reporter());
    guest.start({}, [] {});
    ASSERT_TRUE(guest.port->wait_for(1));
    ASSERT_TRUE(guest.vm().pause());
    ASSERT_TRUE(guest.vm().withhold_memory());
    ASSERT_TRUE(guest.vm().resume());
    guest.vm().request_stop({StopReason::kRequested, "by the test"});
    guest.vm().join();
    EXPECT_EQ(guest.vm().stopped()->detail, "by the test");
}

TEST(VmMemoryTest, MemoryThatNobodyWithheldAndThatIsntThereStopsTheMachine) {
    TinyGuest guest;
    guest.load(reporter());
    guest.start();
    ASSERT_TRUE(guest.port->wait_for(1));
    ASSERT_TRUE(guest.vm().pause());
    ASSERT_TRUE(guest.vm().memory().take_away());
    ASSERT_TRUE(guest.vm().resume());
    const Stop stop = guest.wait();
    EXPECT_EQ(stop.reason, StopReason::kHostError);
    EXPECT_NE(stop.detail.find("Bad address"), std::string::npos) << stop.detail;
}

}  // namespace
}  // namespace drupe
