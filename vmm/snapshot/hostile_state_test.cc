#include <gtest/gtest.h>

#include <random>

#include "vmm/snapshot/vm_state.h"
#include "vmm/testing/tiny_guest.h"

namespace drupe {
namespace {

using testing::Code;
using testing::TinyGuest;

TEST(HostileStateTest, AStateOfAnybodysMakingEndsInAnErrorOrInAGuestThatCanBeEnded) {
    TinyGuest first;
    first.run(Code().report(1).forever());
    ASSERT_TRUE(first.port->wait_for(1));
    ASSERT_TRUE(first.vm().pause());
    const std::string good = encode_vm_state(save_vm(first.vm()).value());
    std::mt19937_64 random(1);  // NOLINT: the same bytes each time
    int restored = 0;
    constexpr size_t kMemoryBytesEnd = 8;
    for (int round = 0; round < 60; ++round) {
        std::string bytes = good;
        for (int i = 0; i < 1 + round / 4; ++i) {
            const size_t at = kMemoryBytesEnd + random() % (bytes.size() - kMemoryBytesEnd);
            bytes[at] = static_cast<char>(random());
        }
        const auto state = decode_vm_state(bytes);
        if (!state) continue;
        TinyGuest second;
        if (!restore_vm(second.vm(), state.value())) continue;
        ++restored;
        second.start();
        ASSERT_TRUE(second.vm().pause() || second.vm().stopped());
    }
    RecordProperty("restored", restored);
    EXPECT_GT(restored, 0);
}

}  // namespace
}  // namespace drupe
