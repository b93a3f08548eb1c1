#include "guest-init/users.h"

#include <gtest/gtest.h>

namespace drupe::init {
namespace {

constexpr const char* kPasswd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "alice:x:1000:1001:Alice:/home/alice:/bin/sh\n"
    "5:x:77:78::/five:\n"
    "broken\n"
    "nohome:x:33:33";
constexpr const char* kGroup =
    "root:x:0:\n"
    "audio:x:29:bob,alice\n"
    "video:x:44:alice\n"
    "staff:x:50:alicexx\n";

Result<Credentials> find(std::string_view user, const std::vector<std::string>& more = {}) {
    return find_user(user, more, kPasswd, kGroup);
}

TEST(Users, NobodyNamedIsRoot) {
    const auto who = find("").value();
    EXPECT_EQ(who.uid, 0U);
    EXPECT_EQ(who.gid, 0U);
    EXPECT_EQ(who.home, "/root");
}

TEST(Users, ANameBringsItsGroupsAndHome) {
    const auto who = find("alice").value();
    EXPECT_EQ(who.uid, 1000U);
    EXPECT_EQ(who.gid, 1001U);
    EXPECT_EQ(who.groups, (std::vector<gid_t>{29, 44, 1001}));
    EXPECT_EQ(who.home, "/home/alice");
}

TEST(Users, ANumberOfAKnownUserIsThatUser) {
    const auto who = find("1000").value();
    EXPECT_EQ(who.gid, 1001U);
    EXPECT_EQ(who.groups, (std::vector<gid_t>{29, 44, 1001}));
}

TEST(Users, ANumberOfNobodyIsTakenAsItIs) {
    const auto who = find("4294967294").value();
    EXPECT_EQ(who.uid, 4294967294U);
    EXPECT_EQ(who.gid, 0U);
    EXPECT_EQ(who.home, "/");
    EXPECT_FALSE(find("4294967295"));  // "leave it", to the kernel
    EXPECT_FALSE(find("-1"));
}

TEST(Users, ANameOfDigitsGoesBeforeTheNumber) {
    EXPECT_EQ(find("5").value().uid, 77U);
}

TEST(Users, AnExplicitGroupReplacesTheUsersOwn) {
    const auto who = find("alice:video").value();
    EXPECT_EQ(who.gid, 44U);
    EXPECT_EQ(who.groups, (std::vector<gid_t>{44}));
    EXPECT_EQ(find("1000:7").value().gid, 7U);
}

TEST(Users, MoreGroupsAreAddedOnce) {
    const auto who = find("alice", {"audio", "7"}).value();
    EXPECT_EQ(who.groups, (std::vector<gid_t>{7, 29, 44, 1001}));
}

TEST(Users, UnknownNamesAreErrors) {
    EXPECT_EQ(find("mallory").error().message,
              "unable to find user mallory: no matching entries in passwd file");
    EXPECT_EQ(find("alice:nosuch").error().message,
              "unable to find group nosuch: no matching entries in group file");
    EXPECT_FALSE(find("root", {"nosuch"}));
    EXPECT_FALSE(find("broken"));
}

TEST(Users, AnImageWithoutDatabasesHasNumbersOnly) {
    EXPECT_EQ(find_user("", {}, "", "").value().uid, 0U);
    EXPECT_EQ(find_user("12:34", {}, "", "").value().gid, 34U);
    EXPECT_FALSE(find_user("root", {}, "", ""));
}

}  // namespace
}  // namespace drupe::init
