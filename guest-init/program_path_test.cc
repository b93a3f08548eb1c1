#include "guest-init/program_path.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

namespace drupe::init {
namespace {

class ProgramPath : public testing::Test {
  protected:
    void SetUp() override {
        const auto* test = testing::UnitTest::GetInstance()->current_test_info();
        base_ = testing::TempDir() + "drupe_path_" + test->name();
        std::filesystem::create_directories(base_ + "/a/dir");
        std::filesystem::create_directories(base_ + "/b");
        put("/a/plain", 0644);
        put("/b/plain", 0755);
        put("/b/tool", 0755);
    }
    void TearDown() override { std::filesystem::remove_all(base_); }
    void put(const std::string& name, mode_t mode) const {
        std::ofstream(base_ + name) << "x";
        ::chmod((base_ + name).c_str(), mode);
    }
    [[nodiscard]] std::vector<std::string> env() const {
        return {"PATH=" + base_ + "/a:" + base_ + "/b"};
    }
    std::string base_;
};

TEST_F(ProgramPath, TheFirstExecutableOfThePathIsFound) {
    EXPECT_EQ(find_program("tool", env()).value(), base_ + "/b/tool");
    // What can't be executed is passed over.
    EXPECT_EQ(find_program("plain", env()).value(), base_ + "/b/plain");
}

TEST_F(ProgramPath, AMissingProgramIsNamedAsContainerUsersKnowIt) {
    const auto missing = find_program("nosuch", env());
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().message, "exec: \"nosuch\": executable file not found in $PATH");
    EXPECT_EQ(missing.error().os_errno, ENOENT);
    EXPECT_EQ(find_program("", env()).error().os_errno, ENOENT);
}

TEST_F(ProgramPath, AProgramWithASlashIsTakenAsItIs) {
    EXPECT_EQ(find_program(base_ + "/b/tool", {}).value(), base_ + "/b/tool");
    const auto plain = find_program(base_ + "/a/plain", {});
    EXPECT_EQ(plain.error().message, "exec: \"" + base_ + "/a/plain\": permission denied");
    EXPECT_EQ(plain.error().os_errno, EACCES);
    const auto directory = find_program(base_ + "/a", {});
    EXPECT_EQ(directory.error().message, "exec: \"" + base_ + "/a\": is a directory");
    EXPECT_EQ(directory.error().os_errno, EISDIR);
    const auto missing = find_program("/nosuch/x", {});
    EXPECT_EQ(missing.error().message,
              "exec: \"/nosuch/x\": stat /nosuch/x: no such file or directory");
}

TEST_F(ProgramPath, TheUsualDirectoriesAreSearchedWithoutAPath) {
    EXPECT_TRUE(find_program("sh", {}));
}

TEST_F(ProgramPath, TheLastAssignmentOfAVariableCounts) {
    const std::vector<std::string> env = {"A=1", "AB=2", "A=3", "A"};
    EXPECT_STREQ(find_variable(env, "A"), "3");
    EXPECT_EQ(find_variable(env, "B"), nullptr);
}

}  // namespace
}  // namespace drupe::init
