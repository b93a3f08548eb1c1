#pragma once

// What tests of the engine share: a root folder of their own, and an engine whose images and
// monitors are fakes.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "api/engine/engine.h"
#include "api/engine/testing/fakes.h"

namespace drupe::engine {

using testing::FakeImages;
using testing::FakeLauncher;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

/// A $DRUPE_ROOT of its own, and everything an engine needs, faked.
class EngineTest : public ::testing::Test {
  protected:
    void SetUp() override {
        char path[] = "/tmp/drupe-engine-XXXXXX";
        ASSERT_NE(::mkdtemp(path), nullptr);
        root_ = path;
        for (const char* part : {"kernel", "initrd", "monitor", "kvm"}) {
            ASSERT_TRUE(open_file(root_ + "/" + part, O_WRONLY | O_CREAT, 0600));
        }
        open();
    }
    void TearDown() override {
        if (engine_) {
            const auto all = engine_->list();
            if (all) {
                for (const Container& c : all.value()) (void)engine_->remove(c.id, true);
            }
        }
        for (const pid_t pid : launcher_.pids) ::kill(pid, SIGKILL);
        std::filesystem::remove_all(root_);
    }

    /// A new engine, as the next command has.
    void open(std::function<void(std::string_view)> at_step = {}) {
        engine_.reset();
        images_.reset();
        images_ = FakeImages::open(root_).value();
        Engine::Options options;
        options.paths.root = root_;
        options.paths.run = root_ + "/run";
        options.paths.kernel = root_ + "/kernel";
        options.paths.initrd = root_ + "/initrd";
        options.paths.monitor = root_ + "/monitor";
        options.paths.kvm = root_ + "/kvm";
        options.templates = templates_on_;
        options.verified = &verified_;
        options.at_step = std::move(at_step);
        engine_ = Engine::open(std::move(options), *images_, launcher_).value();
    }

    static ContainerConfig config(Strings argv) {
        ContainerConfig config;
        config.image = "image";
        config.cmd = std::move(argv);
        return config;
    }
    Result<Machine> create_and_start(const ContainerConfig& asked, const std::string& name,
                                     StartRequest request) {
        TRY_ASSIGN(const Container created, engine_->create(asked, name));
        return engine_->start(created.id, std::move(request));
    }
    Machine run(Strings argv, const std::string& name = "") {
        auto machine = create_and_start(config(std::move(argv)), name, {});
        EXPECT_TRUE(machine) << machine.error().message;
        return std::move(machine).value();
    }

    /// Runs work in another process that ends, like a killed command, at the named step. True if
    /// the step was reached.
    bool dies_at(const std::string& name, const std::function<void(Engine&)>& work) {
        engine_.reset();
        images_.reset();
        const pid_t child = ::fork();
        if (child == 0) {
            open([&](std::string_view step) {
                if (step == name) _exit(77);
            });
            work(*engine_);
            _exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        open();
        return WIFEXITED(status) && WEXITSTATUS(status) == 77;
    }

    [[nodiscard]] size_t entries(const std::string& folder) const {
        size_t count = 0;
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(root_ + folder, error)) {
            static_cast<void>(entry);
            ++count;
        }
        return count;
    }
    /// The file of the saved machine, of which there is one.
    [[nodiscard]] Fd kept_file(const std::string& name) const {
        const std::filesystem::directory_iterator saved(root_ + "/snapshots");
        return open_file(saved->path() / name, O_WRONLY).value();
    }
    /// Nothing is left of any container: no row, file, lock or process.
    void expect_nothing_left() {
        EXPECT_TRUE(engine_->sweep());
        EXPECT_TRUE(engine_->list().value().empty());
        EXPECT_EQ(entries("/tops"), 0u);
        EXPECT_EQ(entries("/containers"), 0u);
        EXPECT_EQ(entries("/run/vm"), 0u);
    }

    bool templates_on_ = false;
    std::string root_;
    std::unique_ptr<FakeImages> images_;
    FakeLauncher launcher_;
    VerifiedFiles verified_;
    std::unique_ptr<Engine> engine_;
};

}  // namespace drupe::engine
