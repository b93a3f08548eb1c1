#include "archive/paths.h"

#include <gtest/gtest.h>

namespace drupe::archive {
namespace {

TEST(Paths, Clean) {
    EXPECT_EQ(clean(""), ".");
    EXPECT_EQ(clean("/"), "/");
    EXPECT_EQ(clean("a//b/./c/"), "a/b/c");
    EXPECT_EQ(clean("/a/../../b"), "/b");
    EXPECT_EQ(clean("../a/.."), "..");
    EXPECT_EQ(clean("a/.."), ".");
}

TEST(Paths, ContainerPathsBeginAtTheRootAndKeepTheirEnd) {
    EXPECT_EQ(container_path(""), "/");
    EXPECT_EQ(container_path("etc/passwd"), "/etc/passwd");
    EXPECT_EQ(container_path("/a/"), "/a/");
    EXPECT_EQ(container_path("a/."), "/a/.");
    EXPECT_EQ(container_path("."), "/.");
    EXPECT_EQ(container_path("../../x"), "/x");
    EXPECT_EQ(container_path("/"), "/");
}

TEST(Paths, SplitEntry) {
    const auto split = [](const char* path) {
        const SplitPath s = split_entry(path);
        return s.folder + "|" + s.base;
    };
    EXPECT_EQ(split("/a/b"), "/a|b");
    EXPECT_EQ(split("/a/b/"), "/a|b");
    EXPECT_EQ(split("/a/b/."), "/a/b|.");
    EXPECT_EQ(split("/"), "/|/");
    EXPECT_EQ(split("a"), ".|a");
}

TEST(Paths, WhatAnArgumentMeans) {
    const auto parse = [](const char* text) {
        const CopyArgument a = parse_copy_argument(text);
        return a.container + "|" + a.path;
    };
    EXPECT_EQ(parse("web:/etc"), "web|/etc");
    EXPECT_EQ(parse("web:etc:x"), "web|etc:x");
    EXPECT_EQ(parse("/a:b"), "|/a:b");
    EXPECT_EQ(parse("./a:b"), "|./a:b");
    EXPECT_EQ(parse("a"), "|a");
    EXPECT_EQ(parse("-"), "|-");
}

struct PlanCase {
    const char* what;
    CopyEnd source;
    CopyEnd destination;
    const char* expected;  // "FOLDER NAME", or the error
};

class PlanTest : public ::testing::TestWithParam<PlanCase> {};

TEST_P(PlanTest, IsDockers) {
    const auto plan = plan_copy(GetParam().source, GetParam().destination);
    const std::string text =
        plan ? plan.value().folder + " " + plan.value().name : plan.error().message;
    EXPECT_EQ(text, GetParam().expected) << GetParam().what;
}

constexpr bool kFile = false;
constexpr bool kFolder = true;

INSTANTIATE_TEST_SUITE_P(
    All, PlanTest,
    ::testing::Values(
        PlanCase{"file into folder", {"/s", true, kFile, ""}, {"/d", true, kFolder, ""}, "/d "},
        PlanCase{"folder into folder", {"/s", true, kFolder, ""}, {"/d", true, kFolder, ""}, "/d "},
        PlanCase{"renamed by a link", {"/s", true, kFile, "l"}, {"/d", true, kFolder, ""}, "/d l"},
        PlanCase{"folder onto file",
                 {"/s", true, kFolder, ""},
                 {"/d/f", true, kFile, ""},
                 "cannot copy directory"},
        PlanCase{"file over file", {"/s", true, kFile, ""}, {"/d/f", true, kFile, ""}, "/d f"},
        PlanCase{"folder as new", {"/s", true, kFolder, ""}, {"/d/n", false, kFile, ""}, "/d n"},
        PlanCase{"folder as new/", {"/s", true, kFolder, ""}, {"/d/n/", false, kFile, ""}, "/d n"},
        PlanCase{
            "contents as new", {"/s/.", true, kFolder, ""}, {"/d/n", false, false, ""}, "/d n"},
        PlanCase{"file as new/",
                 {"/s", true, kFile, ""},
                 {"/d/n/", false, kFile, ""},
                 "no such directory"},
        PlanCase{"file as new", {"/s", true, kFile, ""}, {"/d/n", false, kFile, ""}, "/d n"}));

TEST(Paths, ALinkThatWasFollowedGivesItsNameToWhatItLedTo) {
    std::string resolved = "/real/target";
    EXPECT_EQ(rebase_name("/a/link", resolved), "link");
    EXPECT_EQ(resolved, "/real/target");
    resolved = "/real/target";
    EXPECT_EQ(rebase_name("/a/link/", resolved), "link");
    EXPECT_EQ(resolved, "/real/target/");
    resolved = "/real/target";
    EXPECT_EQ(rebase_name("/a/link/.", resolved), "");
    EXPECT_EQ(resolved, "/real/target/.");
    resolved = "/b/same";
    EXPECT_EQ(rebase_name("/a/same", resolved), "");
}

}  // namespace
}  // namespace drupe::archive
