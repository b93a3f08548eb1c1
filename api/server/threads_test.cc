#include "api/server/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>

namespace drupe::http {
namespace {

using std::chrono::milliseconds;

TEST(ThreadsTest, TheLastIdleThreadSaysThatItIsQuiet) {
    std::promise<void> quiet;
    std::atomic<int> times = 0;
    {
        Threads threads(Threads::Options{.max = 2, .idle = milliseconds(10), .on_quiet = [&] {
                                             if (++times == 1) quiet.set_value();
                                         }});
        std::promise<void> done;
        ASSERT_TRUE(threads.run([&] { done.set_value(); }));
        done.get_future().wait();
        ASSERT_EQ(quiet.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
    }
    EXPECT_EQ(times, 1);
}

TEST(ThreadsTest, ThreadsThatAreSentHomeAreNotQuiet) {
    std::atomic<int> times = 0;
    {
        Threads threads(Threads::Options{.max = 2, .on_quiet = [&] { ++times; }});
        std::promise<void> done;
        ASSERT_TRUE(threads.run([&] { done.set_value(); }));
        done.get_future().wait();
    }
    EXPECT_EQ(times, 0);
}

}  // namespace
}  // namespace drupe::http
