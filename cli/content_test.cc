// Commands about what is in images and containers, over monitors that are only played.

#include "cli/testing/cli_fixture.h"

namespace drupe::cli {
namespace {

TEST_F(CliTest, ASavedImageIsLoadedElsewhereAndRuns) {
    ASSERT_EQ(drupe({"create", "--name", "web", "busybox", "sleep"}).code, 0);
    const std::string id = lines(drupe({"images", "-q"}).out).at(0);
    for (const char* format : {"docker-archive", "oci"}) {
        const std::string archive = root_ + ".saved";
        const Outcome saved = drupe({"save", "--format", format, "-o", archive, "busybox"});
        ASSERT_EQ(saved.code, 0) << saved.err;
        ::setenv("DRUPE_ROOT", (root_ + "/other").c_str(), 1);
        EXPECT_EQ(drupe({"load", "-q", "-i", archive}).out, "Loaded image: busybox:latest\n");
        EXPECT_EQ(drupe({"run", "--rm", "busybox", "hello"}).out, "hello\n");
        ::setenv("DRUPE_ROOT", root_.c_str(), 1);
        std::error_code busy;  // what cleans up behind a run may still be at it
        std::filesystem::remove_all(root_ + "/other", busy);
        std::filesystem::remove(archive);
    }
    EXPECT_EQ(drupe({"save", "nothing"}).code, 1);
    EXPECT_EQ(drupe({"save", "--format", "zip", "busybox"}).code, 125);
}

TEST_F(CliTest, AContainersFilesAreExportedAndUnchanged) {
    ASSERT_EQ(drupe({"create", "--name", "web", "busybox", "sleep"}).code, 0);
    const Outcome diff = drupe({"diff", "web"});
    EXPECT_EQ(diff.code, 0) << diff.err;
    EXPECT_EQ(diff.out, "");
    const std::string tar = root_ + ".tar";
    const Outcome exported = drupe({"export", "-o", tar, "web"});
    ASSERT_EQ(exported.code, 0) << exported.err;
    EXPECT_EQ(
        std::system(("tar -tf " + tar + " bin/busybox etc/passwd > " + tar + ".names").c_str()), 0);
    for (const char* end : {"", ".names"}) std::filesystem::remove(tar + end);
}

TEST_F(CliTest, ARunningContainersFilesAreThoseOfTheMoment) {
    ASSERT_EQ(drupe({"run", "-d", "--name", "web", "busybox", "sleep", "1000"}).code, 0);
    const Outcome diff = drupe({"diff", "web"});
    EXPECT_EQ(diff.code, 0) << diff.err;
    EXPECT_EQ(diff.out, "");
    const std::string tar = root_ + "/running.tar";
    const Outcome exported = drupe({"export", "-o", tar, "web"});
    EXPECT_EQ(exported.code, 0) << exported.err;
    EXPECT_GT(std::filesystem::file_size(tar), 1u << 20);
}

TEST_F(CliTest, WhatCantBeExportedLeavesNoFile) {
    const std::string tar = root_ + "/none.tar";
    EXPECT_EQ(drupe({"export", "-o", tar, "nosuch"}).code, 1);
    EXPECT_FALSE(std::filesystem::exists(tar));
}

TEST_F(CliTest, HistoryAndInspectDescribeAnImageAsDockerDoes) {
    ASSERT_EQ(drupe({"create", "--name", "web", "busybox", "sleep"}).code, 0);
    const std::string id = lines(drupe({"images", "-q"}).out).at(0);
    const Strings history = lines(drupe({"history", "busybox"}).out);
    ASSERT_EQ(history.size(), 2U);
    EXPECT_THAT(history[0], MatchesRegex("IMAGE +CREATED +CREATED BY +SIZE +COMMENT"));
    EXPECT_THAT(history[1], HasSubstr(id));
    EXPECT_EQ(drupe({"history", "-q", "busybox"}).out, id + "\n");
    EXPECT_EQ(
        drupe({"image", "inspect", "-f", "{{.Os}}/{{.Architecture}} {{.RootFS.Type}}", "busybox"})
            .out,
        "linux/amd64 layers\n");
    EXPECT_EQ(drupe({"image", "inspect", "-f", "{{json .Config.Volumes}}", "busybox"}).out,
              "null\n");
    EXPECT_EQ(drupe({"image", "inspect", "web"}).code, 1);
    EXPECT_EQ(drupe({"image", "nonsense"}).code, 1);
}

TEST_F(CliTest, RemovingAnImageFollowsDockersRules) {
    ASSERT_EQ(drupe({"create", "--name", "web", "busybox", "sleep"}).code, 0);
    const std::string id = lines(drupe({"images", "-q"}).out).at(0);
    ASSERT_EQ(drupe({"tag", "busybox", "mine:1"}).code, 0);
    EXPECT_THAT(drupe({"rmi", id}).err,
                HasSubstr("conflict: unable to delete " + id +
                          " (must be forced) - image is referenced in multiple repositories"));
    EXPECT_EQ(drupe({"rmi", "mine:1"}).out, "Untagged: mine:1\n");
    EXPECT_THAT(drupe({"rmi", id}).err,
                HasSubstr("(must be forced) - image is being used by stopped container "));
    ASSERT_EQ(drupe({"start", "web"}).code, 0);
    EXPECT_THAT(drupe({"rmi", "-f", id}).err,
                HasSubstr("(cannot be forced) - image is being used by running container "));
    // By name, the name goes and the image stays for its container.
    EXPECT_EQ(drupe({"rmi", "-f", "busybox"}).out, "Untagged: busybox:latest\n");
    EXPECT_EQ(drupe({"images", "-q", "-f", "dangling=true"}).out, id + "\n");
    ASSERT_EQ(drupe({"rm", "-f", "web"}).code, 0);
    EXPECT_THAT(drupe({"rmi", id}).out, HasSubstr("Deleted: sha256:" + id));
}

}  // namespace
}  // namespace drupe::cli
