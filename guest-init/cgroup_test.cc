#include "guest-init/cgroup.h"

#include <gtest/gtest.h>

namespace drupe::init {
namespace {

TEST(Cgroup, CountersAreReadFromTheirOwnLine) {
    const char* events = "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 7\n";
    EXPECT_EQ(parse_counter(events, "oom_kill"), 3U);
    EXPECT_EQ(parse_counter(events, "oom"), 4U);
    EXPECT_EQ(parse_counter("oom_kill 12\n", "oom_kill"), 12U);
    EXPECT_EQ(parse_counter("xoom_kill 12\n", "oom_kill"), 0U);
    EXPECT_EQ(parse_counter("", "oom_kill"), 0U);
    EXPECT_EQ(parse_counter("oom_kill ", "oom_kill"), 0U);
    EXPECT_EQ(parse_counter("oom_kill", "oom_kill"), 0U);
}

}  // namespace
}  // namespace drupe::init
