#include "monitor/snapshot_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <csignal>
#include <optional>

#include "vmm/snapshot/memory_file.h"
#include "vmm/testing/memfd.h"

namespace drupe {
namespace {

constexpr uint64_t kSize = 4 << 20;
constexpr uint64_t kAddress = 1 << 20;
constexpr std::string_view kName = "mine";

class SnapshotWriterTest : public ::testing::Test {
  protected:
    SnapshotWriterTest() {
        std::signal(SIGCHLD, SIG_IGN);
        std::signal(SIGXFSZ, SIG_IGN);
    }
    ~SnapshotWriterTest() override { std::signal(SIGCHLD, SIG_DFL); }

    void start() {
        auto started =
            SnapshotWriter::start(*loop_, memory_, {}, {{std::string(kName), 1, "state"}}, files_,
                                  [this](const Status& status) {
                                      result_ = status;
                                      writer_.reset();
                                      loop_->stop();
                                  });
        ASSERT_TRUE(started) << started.error().message;
        writer_ = std::move(started).value();
    }

    GuestMemory memory_ =
        std::move(GuestMemory::create(std::array<GuestMemory::Range, 1>{{{0, kSize}}})).value();
    control::Snapshot files_{testing::make_memfd({}), testing::make_memfd({})};
    std::unique_ptr<EventLoop> loop_ = make_event_loop();
    std::unique_ptr<SnapshotWriter> writer_;
    std::optional<Status> result_;
};

TEST_F(SnapshotWriterTest, WritesRamAsItWasWhenItStarted) {
    ASSERT_TRUE(memory_.write(kAddress, 1));
    start();
    ASSERT_TRUE(memory_.write(kAddress, 2));
    writer_->begin();
    loop_->run();
    ASSERT_TRUE(result_ && *result_) << result_->error().message;

    const std::string state = read_all(files_.state.get(), kSize).value();
    const auto sections = decode_state_file(state);
    ASSERT_TRUE(sections);
    EXPECT_EQ(find_section(sections.value(), kName, 1).value(), "state");
    const auto pages = decode_memory_pages(
        find_section(sections.value(), kMemorySection, kMemorySectionVersion).value());
    ASSERT_TRUE(pages);
    const GuestMemory other =
        std::move(GuestMemory::create(std::array<GuestMemory::Range, 1>{{{0, kSize}}})).value();
    ASSERT_TRUE(map_memory(other, files_.memory.get(), pages.value()));
    EXPECT_EQ(other.read<int>(kAddress), 1);
    EXPECT_EQ(memory_.read<int>(kAddress), 2);
}

TEST_F(SnapshotWriterTest, SaysWhyAFileCantBeWritten) {
    ASSERT_TRUE(memory_.write(kAddress, 1));
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const rlimit small{4096, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    start();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    loop_->run();
    ASSERT_TRUE(result_ && !*result_);
    EXPECT_NE(result_->error().message.find("memory file"), std::string::npos)
        << result_->error().message;
}

}  // namespace
}  // namespace drupe
