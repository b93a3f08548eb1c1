// Docker's config.json, and helper programs that behave and that don't.

#include "imagefs/registry/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "imagefs/registry/helper_process.h"

namespace drupe::imagefs::registry {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class CredentialsTest : public testing::Test {
  protected:
    CredentialsTest() {
        std::string pattern = (fs::temp_directory_path() / "drupe-credentials-XXXXXX").string();
        folder_ = ::mkdtemp(pattern.data());
        const char* path = std::getenv("PATH");
        ::setenv("PATH", (folder_ + ":" + (path == nullptr ? "" : path)).c_str(), 1);
    }
    ~CredentialsTest() override { fs::remove_all(folder_); }
    CredentialsTest(const CredentialsTest&) = delete;
    CredentialsTest& operator=(const CredentialsTest&) = delete;

    void write(const std::string& text) const { std::ofstream(file().path()) << text; }
    [[nodiscard]] CredentialFile file() const { return CredentialFile(folder_ + "/config.json"); }
    /// "user:password", "token TOKEN", or the error.
    [[nodiscard]] std::string found(const std::string& registry) const {
        const auto credentials = file().find(registry);
        if (!credentials) return credentials.error().message;
        const Credentials& c = credentials.value();
        return c.identity_token.empty() ? c.user + ":" + c.password : "token " + c.identity_token;
    }
    void helper(const std::string& name, const std::string& script) const {
        const std::string path = folder_ + "/docker-credential-" + name;
        std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
        fs::permissions(path, fs::perms::owner_all);
    }

    std::string folder_;
};

TEST_F(CredentialsTest, EntriesAreFoundAsDockerWritesThem) {
    write(R"({"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                        "registry.example:5000": {"auth": "dXNlcjpwOmFzcw=="},
                        "https://old.example/v1/": {"username": "o", "password": "p"},
                        "token.example": {"auth": "dTo=", "identitytoken": "T"},
                        "bad.example": {"auth": "bm9jb2xvbg=="}}, "other": [1]})");
    EXPECT_EQ(found("docker.io"), "hub:pw");
    EXPECT_EQ(found("registry.example:5000"), "user:p:ass");
    EXPECT_EQ(found("registry.example"), ":");
    EXPECT_EQ(found("old.example"), "o:p");
    EXPECT_EQ(found("token.example"), "token T");
    EXPECT_THAT(found("bad.example"), HasSubstr("USER:PASSWORD"));
}

TEST_F(CredentialsTest, NoFileAndNoJsonAreTold) {
    EXPECT_EQ(found("docker.io"), ":");
    write("");
    EXPECT_EQ(found("docker.io"), ":");
    for (const char* bad :
         {"[", "[]", R"({"auths": 5})", R"({"credsStore": {}})", R"({"credsStore": "../x"})"}) {
        write(bad);
        EXPECT_FALSE(file().find("docker.io")) << bad;
    }
}

TEST_F(CredentialsTest, StoringKeepsTheRestAndIsPrivate) {
    write(R"({"other": [1], "auths": {"a": {"auth": "dTpw"}}})");
    ASSERT_TRUE(file().store("docker.io", {"user", "secret", ""}));
    EXPECT_EQ(found("docker.io"), "user:secret");
    EXPECT_EQ(found("a"), "u:p");
    EXPECT_THAT(read_file(file().path(), 4096).value(), HasSubstr("\"other\""));
    struct stat info {};
    ASSERT_EQ(::stat(file().path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
    ASSERT_TRUE(file().erase("docker.io"));
    EXPECT_EQ(found("docker.io"), ":");
    const auto again = file().erase("docker.io");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().message, "Not logged in to docker.io");
}

TEST_F(CredentialsTest, HelpersAreAskedByNameAndStoreWhatTheyAreTold) {
    helper("mem", "case $1 in store) cat > " + folder_ + "/kept ;; get) read -r server; " +
                      "[ \"$server\" = registry.example ] && " +
                      "echo '{\"ServerURL\":\"s\",\"Username\":\"u\",\"Secret\":\"p\"}' || " +
                      "{ echo 'credentials not found in native keychain'; exit 1; } ;; esac");
    helper("token", R"(echo '{"Username":"<token>","Secret":"T"}')");
    write(R"({"credsStore": "mem", "credHelpers": {"cloud.example": "token"}})");
    EXPECT_EQ(found("registry.example"), "u:p");
    EXPECT_EQ(found("other.example"), ":");
    EXPECT_EQ(found("cloud.example"), "token T");
    ASSERT_TRUE(file().store("registry.example", {"me", "secret", ""}));
    EXPECT_EQ(read_file(folder_ + "/kept", 4096).value(),
              R"({"Secret":"secret","ServerURL":"registry.example","Username":"me"})");
    EXPECT_THAT(read_file(file().path(), 4096).value(), Not(HasSubstr("secret")));
}

TEST_F(CredentialsTest, HelpersThatFailAreErrors) {
    write(R"({"credsStore": "bad"})");
    EXPECT_THAT(found("x.example"), HasSubstr("docker-credential-bad"));
    helper("bad", "echo broken; exit 3");
    EXPECT_THAT(found("x.example"), HasSubstr("get ends with 3: broken"));
    helper("bad", "echo nonsense");
    EXPECT_THAT(found("x.example"), HasSubstr("docker-credential-bad: not a JSON"));
    helper("bad", "yes");
    EXPECT_THAT(found("x.example"), HasSubstr("it prints too much"));
}

TEST_F(CredentialsTest, AProcessThatHangsIsKilled) {
    const auto begin = std::chrono::steady_clock::now();
    const auto hung = run_process({"sleep", "60"}, "", 200, 100);
    ASSERT_FALSE(hung);
    EXPECT_THAT(hung.error().message, HasSubstr("no answer in 200 ms"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    EXPECT_EQ(run_process({"cat"}, std::string(100'000, 'x'), 20'000, 1 << 20).value().out.size(),
              100'000U);
}

}  // namespace
}  // namespace drupe::imagefs::registry
