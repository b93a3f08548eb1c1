#include "api/engine/templates.h"

#include <sys/stat.h>

#include "api/engine/lock.h"
#include "api/engine/testing/engine_fixture.h"

namespace drupe::engine {
namespace {

namespace fs = std::filesystem;

/// Templates by a launcher whose monitors write five bytes for a machine.
class TemplatesTest : public EngineTest {
  protected:
    void SetUp() override {
        EngineTest::SetUp();
        templates_.emplace(engine_->paths(), launcher_);
    }
    [[nodiscard]] bool there(const TemplateShape& shape) const {
        const auto found = templates_->find(shape);
        EXPECT_TRUE(found) << found.error().message;
        return found && found.value();
    }
    void make(const TemplateShape& shape) const {
        const auto made = templates_->make(shape);
        ASSERT_TRUE(made) << made.error().message;
        for (const auto& entry : fs::directory_iterator(root_ + "/run/templates"))
            ASSERT_TRUE(await_monitor_end(entry.path(), 10'000).value());
    }
    /// ROOT/templates/BOOT
    [[nodiscard]] fs::path boot_folder() const {
        return fs::directory_iterator(root_ + "/templates")->path();
    }
    [[nodiscard]] fs::path only_folder() const {
        return fs::directory_iterator(boot_folder())->path();
    }
    [[nodiscard]] size_t launched() const { return launcher_.pids.size(); }

    static constexpr TemplateShape kShape{512ULL << 20, 1};
    std::optional<Templates> templates_;
};

TEST_F(TemplatesTest, OneIsThereOnceItsMachineHasSavedItself) {
    EXPECT_FALSE(there(kShape));
    make(kShape);
    ASSERT_TRUE(there(kShape));
    EXPECT_TRUE(fs::exists(only_folder() / "state"));
    EXPECT_FALSE(there({256ULL << 20, 1}));
    EXPECT_FALSE(there({512ULL << 20, 2}));
    make(kShape);
    EXPECT_EQ(launched(), 1u);
}

TEST_F(TemplatesTest, AnotherKernelInitOrMonitorNeedsAnother) {
    make(kShape);
    for (const char* part : {"kernel", "initrd", "monitor"}) {
        ASSERT_TRUE(there(kShape));
        const Fd file = open_file(root_ + "/" + part, O_WRONLY | O_APPEND).value();
        ASSERT_EQ(::write(file.get(), "x", 1), 1);
        EXPECT_FALSE(there(kShape)) << part;
        make(kShape);
    }
    EXPECT_TRUE(there(kShape));
}

TEST_F(TemplatesTest, AMachineThatDiedOnTheWayLeavesNoneAndTheNextTryIsGood) {
    make(kShape);
    // As it lies there when the monitor was killed before its last word.
    fs::resize_file(only_folder() / "exit.json", 0);
    EXPECT_FALSE(there(kShape));
    make(kShape);
    EXPECT_EQ(launched(), 1u) << "tried again at once";
    timespec old[2] = {{1, 0}, {1, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (only_folder() / "exit.json").c_str(), old, 0), 0);
    make(kShape);
    EXPECT_EQ(launched(), 2u);
    EXPECT_TRUE(there(kShape));
}

TEST_F(TemplatesTest, OneThatCantBeUsedIsRemoved) {
    make(kShape);
    ASSERT_TRUE(there(kShape));
    ASSERT_TRUE(templates_->remove(kShape));
    EXPECT_FALSE(there(kShape));
    ASSERT_TRUE(templates_->remove(kShape));
}

TEST_F(TemplatesTest, ASweepKeepsThisBootsNewestOnes) {
    fs::create_directories(root_ + "/templates/another-boot/key");
    for (uint32_t vcpus = 1; vcpus <= Templates::kMaxTemplates + 2; ++vcpus) {
        make({512ULL << 20, vcpus});
        ASSERT_TRUE(there({512ULL << 20, vcpus}));
    }
    ASSERT_TRUE(templates_->sweep());
    EXPECT_FALSE(fs::exists(root_ + "/templates/another-boot"));
    EXPECT_FALSE(there({512ULL << 20, 1}));
    EXPECT_FALSE(there({512ULL << 20, 2}));
    EXPECT_TRUE(there({512ULL << 20, 3}));
    EXPECT_TRUE(there({512ULL << 20, Templates::kMaxTemplates + 2}));
}

TEST_F(TemplatesTest, AnEngineUsesThemUnlessItsContainerSaysOtherwise) {
    const auto run = [&](const ContainerConfig& asked) {
        auto machine = create_and_start(asked, "", {});
        ASSERT_TRUE(machine) << machine.error().message;
        ASSERT_TRUE(engine_->conclude(machine.value()));
    };
    templates_on_ = true;
    open();
    ContainerConfig asked = config({"exit", "0"});
    run(asked);
    for (const auto& entry : fs::directory_iterator(root_ + "/run/templates"))
        ASSERT_TRUE(await_monitor_end(entry.path(), 10'000).value());
    EXPECT_EQ(launched(), 2u) << "a machine and its template";
    run(asked);
    EXPECT_TRUE(launcher_.last.config.restore.given());
    asked.boot = "cold";
    run(asked);
    EXPECT_FALSE(launcher_.last.config.restore.given());
    asked.boot = "";
    asked.kernel_args = "quiet";
    run(asked);
    EXPECT_FALSE(launcher_.last.config.restore.given());
    EXPECT_EQ(launched(), 5u);
}

}  // namespace
}  // namespace drupe::engine
