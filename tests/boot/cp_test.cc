// drupe cp, with real guests.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/boot/running.h"

namespace drupe::testing {
namespace {

namespace fs = std::filesystem;

class CpTest : public ::testing::Test {
  protected:
    CpTest() {
        std::string pattern = ::testing::TempDir() + "/cp-XXXXXX";
        EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    ~CpTest() override {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
        for (const std::string& name : containers_) (void)drupe({"rm", "-f", name});
    }

    [[nodiscard]] std::string here(const std::string& name) const { return folder_ + "/" + name; }
    void write(const std::string& name, const std::string& text) const {
        fs::create_directories(fs::path(here(name)).parent_path());
        std::ofstream(here(name)) << text;
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream in(here(name));
        return {std::istreambuf_iterator<char>(in), {}};
    }
    /// Names, kinds, contents, modes and times of a tree.
    [[nodiscard]] std::map<std::string, std::string> tree(const std::string& name) const {
        std::map<std::string, std::string> all;
        for (const auto& entry : fs::recursive_directory_iterator(here(name))) {
            struct stat status {};
            EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0);
            std::string what = std::to_string(status.st_mode) + " " +
                               std::to_string(status.st_mtim.tv_sec) + "." +
                               std::to_string(status.st_mtim.tv_nsec) + " ";
            if (entry.is_symlink()) {
                what += fs::read_symlink(entry.path()).string();
            } else if (entry.is_regular_file()) {
                std::ifstream in(entry.path());
                what.append(std::istreambuf_iterator<char>(in), {});
            }
            all[fs::relative(entry.path(), here(name)).string()] = what;
        }
        return all;
    }
    static Outcome cp(std::vector<std::string> arguments, const std::string& input = "") {
        arguments.insert(arguments.begin(), "cp");
        return drupe(arguments, input, std::chrono::seconds(300));
    }
    static void expect_ok(const Outcome& outcome) {
        EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    }
    static void expect_error(const Outcome& outcome, const std::string& text) {
        EXPECT_EQ(outcome.exit_code, 1);
        EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
    }
    /// A container that ran a script and ended.
    void make_stopped(const std::string& name, const std::string& script) {
        containers_.push_back(name);
        (void)drupe({"run", "--name", name, "busybox", "sh", "-c", script});
    }
    static std::string output(const std::vector<std::string>& arguments) {
        const Outcome outcome = drupe(arguments);
        EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
        return trim(outcome.out);
    }
    void make_large_tree(const std::string& name) const {
        for (int i = 0; i < 10'000; ++i) {
            write(name + "/" + std::to_string(i % 100) + "/" + std::to_string(i),
                  "file " + std::to_string(i));
        }
        fs::create_symlink("../1/1", here(name) + "/2/link");
        ASSERT_EQ(::chmod(here(name + "/3/3").c_str(), 0751), 0);
    }

    std::string folder_;
    std::vector<std::string> containers_;
};

TEST_F(CpTest, AFileInAndOutOfARunningContainer) {
    const Running machine;
    const std::string c = machine.id();
    write("a", "hello");
    const Outcome in = cp({here("a"), c + ":/tmp"});
    expect_ok(in);
    EXPECT_NE(in.err.find("Successfully copied "), std::string::npos) << in.err;
    EXPECT_NE(in.err.find(" to " + c + ":/tmp"), std::string::npos) << in.err;
    EXPECT_EQ(output({"exec", c, "sh", "-c", "cat /tmp/a; stat -c ' %u:%g' /tmp/a"}), "hello 0:0");
    expect_ok(cp({here("a"), c + ":/tmp/renamed"}));
    expect_ok(cp({"-q", c + ":tmp/renamed", here("b")}));
    EXPECT_EQ(read("b"), "hello");
    expect_ok(cp({c + ":/tmp/a", here("b")}));  // over a file

    ASSERT_EQ(::chown(here("a").c_str(), 1234, 56), 0);
    expect_ok(cp({"-a", here("a"), c + ":/tmp/owned"}));
    EXPECT_EQ(output({"exec", c, "stat", "-c", "%u:%g", "/tmp/owned"}), "1234:56");
    expect_ok(cp({"-a", c + ":/tmp/owned", here("owned")}));
    expect_ok(cp({c + ":/tmp/owned", here("mine")}));
    struct stat status {};
    ASSERT_EQ(::stat(here("owned").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 1234U);
    ASSERT_EQ(::stat(here("mine").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, ::getuid());
}

TEST_F(CpTest, TheRulesOfPathsAreDockers) {
    const Running machine;
    const std::string c = machine.id();
    write("d/x", "x");
    write("f", "f");
    expect_ok(cp({here("d"), c + ":/new"}));  // as /new
    expect_ok(cp({here("d"), c + ":/new"}));  // into it
    expect_ok(cp({here("d/."), c + ":/contents"}));
    EXPECT_EQ(output({"exec", c, "sh", "-c", "cat /new/x /new/d/x /contents/x"}), "xxx");
    expect_error(cp({here("f"), c + ":/missing/"}), "no such directory");
    expect_error(cp({here("f"), c + ":/missing/f"}), "Could not find the file");
    expect_error(cp({here("d"), c + ":/new/x"}), "cannot copy directory");
    expect_error(cp({c + ":/nothing", here("y")}), "Could not find the file /nothing in container");
    expect_error(cp({here("nothing"), c + ":/"}), "o such file");
    expect_error(cp({c + ":/new", here("f")}), "cannot copy directory");
    expect_error(cp({c + ":/new/x", here("no/where")}), "does not exist");
    expect_error(cp({here("f"), here("g")}), "must specify at least one container source");
    expect_error(cp({"a:/x", "b:/y"}), "copying between containers is not supported");

    (void)output({"exec", c, "sh", "-c", "ln -s /new/x /tmp/link; ln -s /new /tmp/folder"});
    expect_ok(cp({c + ":/tmp/link", here("link")}));
    EXPECT_TRUE(fs::is_symlink(here("link")));
    expect_ok(cp({"-L", c + ":/tmp/link", here("followed")}));
    EXPECT_EQ(read("followed"), "x");
    fs::create_directory(here("into"));
    expect_ok(cp({"-L", c + ":/tmp/link", here("into")}));
    EXPECT_EQ(read("into/link"), "x");
    expect_ok(cp({here("f"), c + ":/tmp/folder"}));  // where the link leads
    EXPECT_EQ(output({"exec", c, "cat", "/new/f"}), "f");
}

TEST_F(CpTest, ATarOnStandardInputAndOutput) {
    const Running machine;
    const std::string c = machine.id();
    write("d/x", "x");
    expect_ok(cp({here("d"), c + ":/d"}));
    const Outcome out = cp({c + ":/d", "-"});
    expect_ok(out);
    EXPECT_NE(out.out.find(std::string("\0d/x\0", 5)), std::string::npos);  // a header's name
    expect_ok(cp({"-", c + ":/tmp"}, out.out));
    EXPECT_EQ(output({"exec", c, "cat", "/tmp/d/x"}), "x");
    expect_error(cp({"-", c + ":/d/x"}, out.out), "must be a directory");
    expect_error(cp({"-", c + ":/tmp"}, "garbage" + std::string(2000, 'x')), "damaged");
    expect_error(cp({"-", c + ":/tmp"}, out.out.substr(0, 700)), "ends in the middle");
}

TEST_F(CpTest, TenThousandFilesIntoARunningContainerAndBack) {
    make_large_tree("t");
    const Running machine;
    expect_ok(cp({here("t"), machine.id() + ":/t"}));
    expect_ok(cp({machine.id() + ":/t", here("back")}));
    EXPECT_EQ(tree("t"), tree("back"));
}

TEST_F(CpTest, TenThousandFilesIntoAStoppedContainerAndBack) {
    make_large_tree("t");
    make_stopped("cp-stopped", "echo said; exit 7");
    const std::string before = output({"inspect", "cp-stopped"});
    const std::string logs = output({"logs", "cp-stopped"});
    expect_ok(cp({here("t"), "cp-stopped:/t"}));
    expect_ok(cp({"cp-stopped:/t", here("back")}));
    EXPECT_EQ(tree("t"), tree("back"));
    EXPECT_EQ(output({"inspect", "cp-stopped"}), before);
    EXPECT_EQ(output({"logs", "cp-stopped"}), logs);
}

TEST_F(CpTest, ACreatedContainerStartsWithWhatWasCopied) {
    containers_.emplace_back("cp-created");
    write("f", "from the host");
    ASSERT_EQ(drupe({"create", "--name", "cp-created", "busybox", "cat", "/f"}).exit_code, 0);
    const std::string before = output({"inspect", "cp-created"});
    expect_ok(cp({here("f"), "cp-created:/f"}));
    EXPECT_EQ(output({"inspect", "cp-created"}), before);
    EXPECT_EQ(output({"start", "-a", "cp-created"}), "from the host");
}

TEST_F(CpTest, AContainerThatWasKilledHasWhatWasSynced) {
    containers_.emplace_back("cp-killed");
    ASSERT_EQ(drupe({"run", "-d", "--name", "cp-killed", "busybox", "sleep", "1000"}).exit_code, 0);
    (void)output({"exec", "cp-killed", "sh", "-c", "echo kept > /kept; sync"});
    ASSERT_EQ(drupe({"kill", "cp-killed"}).exit_code, 0);
    (void)drupe({"wait", "cp-killed"});
    expect_ok(cp({"cp-killed:/kept", here("kept")}));
    EXPECT_EQ(read("kept"), "kept\n");
}

TEST_F(CpTest, AReadOnlyContainerGivesAndTakesNothing) {
    const Running machine({"--read-only"});
    write("f", "f");
    expect_error(cp({here("f"), machine.id() + ":/tmp"}), "container rootfs is marked read-only");
    expect_ok(cp({machine.id() + ":/bin/busybox", here("busybox")}));
}

TEST_F(CpTest, ACopyThatIsKilledLeavesNothingRunning) {
    make_stopped("cp-cut", "true");
    Process copier(drupe_argv({"cp", "-", "cp-cut:/tmp"}), Process::Io::kPipes);
    ::sleep(5);  // a machine waits for its tar
    copier.signal(SIGKILL);
    (void)copier.finish(std::chrono::seconds(10));
    expect_ok(drupe({"start", "-a", "cp-cut"}));
    write("f", "f");
    expect_ok(cp({here("f"), "cp-cut:/f"}));
}

}  // namespace
}  // namespace drupe::testing
