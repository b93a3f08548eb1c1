#include "api/engine/saved_machines.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

namespace drupe::engine {
namespace {

TEST(SavedMachinesTest, WhatIsPublishedIsNobodysLeftover) {
    std::string folder = ::testing::TempDir() + "/saved-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    const SavedMachines saved(folder);
    std::atomic<bool> over = false;
    std::set<std::string> dead;
    std::thread sweeper([&] {
        while (!over) {
            const auto found = saved.dead();
            if (!found) continue;
            for (const SavedMachines::New& one : found.value()) dead.insert(one.pin);
        }
    });
    std::set<std::string> published;
    for (int i = 0; i < 2000; ++i) {
        const auto made = saved.begin();
        if (!made) continue;
        SavedMachine machine;
        machine.pin = made.value().pin;
        EXPECT_TRUE(saved.publish(made.value(), machine, std::string(64, 'a')));
        published.insert(machine.pin);
    }
    over = true;
    sweeper.join();
    EXPECT_EQ(published.size(), 2000U);
    for (const std::string& pin : dead) EXPECT_FALSE(published.contains(pin)) << pin;
    { const auto unfinished = saved.begin(); }
    EXPECT_EQ(saved.dead().value().size(), 1U) << "its maker has died";
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace drupe::engine
