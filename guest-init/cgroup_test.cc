#include "guest-init/cgroup.h"

#include <gtest/gtest.h>

namespace drupe::init {
namespace {

TEST(Cgroup, OomKillsAreReadFromTheirOwnLine) {
    EXPECT_EQ(parse_oom_kills("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 7\n"), 3U);
    EXPECT_EQ(parse_oom_kills("oom_kill 12\n"), 12U);
    EXPECT_EQ(parse_oom_kills("xoom_kill 12\n"), 0U);
    EXPECT_EQ(parse_oom_kills(""), 0U);
    EXPECT_EQ(parse_oom_kills("oom_kill "), 0U);
}

}  // namespace
}  // namespace drupe::init
