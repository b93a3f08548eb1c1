#include "guest-init/process_list.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace drupe::init {
namespace {

constexpr const char* kStat =
    "42 (a) b (c)) S 1 42 42 34816 42 4194560 100 0 0 0 150 50 0 0 20 -5 3 0 1000 8192 25 "
    "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n";

TEST(ProcessList, AStatIsReadWhateverItsCommandHolds) {
    const auto process = parse_process_stat(kStat, 100, 4096);
    ASSERT_TRUE(process);
    EXPECT_EQ(process->pid, 42U);
    EXPECT_EQ(process->command, "a) b (c)");
    EXPECT_EQ(process->state, 'S');
    EXPECT_EQ(process->parent, 1U);
    EXPECT_EQ(process->terminal, 34816U);
    EXPECT_EQ(process->foreground_group, 42);
    EXPECT_EQ(process->cpu_ms, 2000U);
    EXPECT_EQ(process->nice, -5);
    EXPECT_EQ(process->threads, 3U);
    EXPECT_EQ(process->started_ms, 10000U);
    EXPECT_EQ(process->virtual_bytes, 8192U);
    EXPECT_EQ(process->resident_bytes, 25U * 4096);
}

TEST(ProcessList, WhatIsNoStatIsRefused) {
    for (const char* text : {"", "1", "1 (a", "1 a) S", "1 (a)", "1 (a) S", "1 (a) S 1 2 3",
                             "x (a) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0"})
        EXPECT_FALSE(parse_process_stat(text, 100, 4096)) << text;
}

TEST(ProcessList, ArgumentsAreSeparatedBySpaces) {
    EXPECT_EQ(join_arguments(std::string_view("sh\0-c\0a b\0", 10)), "sh -c a b");
    EXPECT_EQ(join_arguments(""), "");
    EXPECT_EQ(join_arguments(std::string(100'000, 'x')).size(), protocol::kMaxProcessTextBytes);
}

TEST(ProcessList, OwnProcessesAreThereButTheReader) {
    const protocol::ProcessList list = list_processes();
    bool parent_seen = false;
    for (const auto& process : list.processes) {
        EXPECT_NE(process.pid, static_cast<uint32_t>(::getpid()));
        parent_seen = parent_seen || process.pid == static_cast<uint32_t>(::getppid());
    }
    EXPECT_TRUE(parent_seen);
    EXPECT_GT(list.uptime_ms, 0U);
    EXPECT_TRUE(protocol::decode<protocol::ProcessList>(protocol::encode(list)));
}

}  // namespace
}  // namespace drupe::init
