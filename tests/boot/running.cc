#include "tests/boot/running.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace drupe::testing {

std::string trim(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return text;
}

Running::Running(const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"run", "-d"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    for (const char* word : {"busybox", "sleep", "100000"}) arguments.emplace_back(word);
    const Outcome outcome = drupe(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    id_ = trim(outcome.out);
}

Running::~Running() {
    (void)drupe({"rm", "-f", id_});
}

pid_t Running::monitor_pid() const {
    return std::atoi(drupe({"inspect", "--format", "{{.State.Pid}}", id_}).out.c_str());
}

}  // namespace drupe::testing
