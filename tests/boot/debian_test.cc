// An image of others, by mmdebstrap and umoci, in a real guest (tests/images/make-debian-image
// keeps it).

#include <gtest/gtest.h>

#include <string_view>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

using std::chrono::seconds;

class DebianTest : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        Process maker({DRUPE_TEST_SOURCE_DIR "/tests/images/make-debian-image"},
                      Process::Io::kPipes);
        const Outcome made = maker.finish(seconds(1200));
        ASSERT_EQ(made.exit_code, 0) << made.err;
        const Outcome loaded = drupe({"load", "-i", trim(made.out)}, "", seconds(1200));
        ASSERT_EQ(loaded.exit_code, 0) << loaded.err;
        constexpr std::string_view kSaid = "Loaded image: ";
        const size_t at = loaded.out.find(kSaid);
        ASSERT_NE(at, std::string::npos) << loaded.out;
        image_ = trim(loaded.out.substr(at + kSaid.size()));
    }
    static std::string image_;
};
std::string DebianTest::image_;

TEST_F(DebianTest, ItSaysWhatItIs) {
    const Outcome outcome = drupe({"run", "--rm", image_, "cat", "/etc/os-release"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("VERSION_CODENAME=bookworm"), std::string::npos) << outcome.out;
}

TEST_F(DebianTest, DpkgFindsNothingWrong) {
    const Outcome outcome = drupe(
        {"run", "--rm", image_, "sh", "-c", "dpkg --verify && echo verified"}, "", seconds(600));
    EXPECT_EQ(outcome.out, "verified\n") << outcome.err;
}

TEST_F(DebianTest, CapabilitiesAndLargeUidsAreThere) {
    const Outcome outcome =
        drupe({"run", "--rm", image_, "sh", "-c",
               "stat -c %u:%g /opt/app/data/blob; stat -c %h /opt/app/data/blob"});
    EXPECT_EQ(outcome.out, "70001:70002\n2\n") << outcome.err;
}

}  // namespace
}  // namespace drupe::testing
