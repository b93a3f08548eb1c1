#include "api/engine/guest_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

namespace drupe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kDockersDefault = 0xa80425fb;  // CapBnd in a container of Docker's

TEST(GuestOptions, CapabilitiesAreDockersWithWhatIsAddedAndDropped) {
    ContainerConfig config;
    EXPECT_EQ(capabilities_of(config).value(), kDockersDefault);
    config.cap_add = {"net_admin", "CAP_SYS_TIME"};
    config.cap_drop = {"CHOWN"};
    EXPECT_EQ(capabilities_of(config).value(),
              (kDockersDefault & ~uint64_t{1}) | 1 << 12 | 1 << 25);
    config.cap_drop = {"all"};
    EXPECT_EQ(capabilities_of(config).value(), uint64_t{1 << 12 | 1 << 25});
    config.cap_add = {"ALL"};
    config.cap_drop = {"MKNOD"};
    EXPECT_EQ(capabilities_of(config).value(), ((uint64_t{1} << 41) - 1) & ~(uint64_t{1} << 27));
    config.privileged = true;
    EXPECT_EQ(capabilities_of(config).value(), protocol::kAllCapabilities);
}

TEST(GuestOptions, AnUnknownCapabilityIsNamedWithItsOption) {
    ContainerConfig config;
    config.cap_drop = {"SYS_FLY"};
    const auto refused = validate_guest_options(config);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("--cap-drop: unknown capability: \"SYS_FLY\""));
}

TEST(GuestOptions, ATmpfsHasDockersDefaultsUnderItsOptions) {
    const auto plain = parse_tmpfs("/run", "");
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain.value().flags, uint64_t{MS_NOSUID | MS_NODEV | MS_NOEXEC});
    EXPECT_EQ(plain.value().options, "");
    const auto full = parse_tmpfs("/run", "size=64m,ro,exec,mode=1770,uid=7,gid=8");
    ASSERT_TRUE(full);
    EXPECT_EQ(full.value().flags, uint64_t{MS_NOSUID | MS_NODEV | MS_RDONLY});
    EXPECT_EQ(full.value().options, "size=64m,mode=1770,uid=7,gid=8");
}

TEST(GuestOptions, WhatATmpfsCantBeIsRefusedByName) {
    for (const char* options : {"size", "size=", "size=x", "mode=9", "huge=always", "ro=1",
                                "uid=-1", "size=1\nx", "bind"}) {
        const auto refused = parse_tmpfs("/run", options);
        ASSERT_FALSE(refused) << options;
        EXPECT_THAT(refused.error().message, HasSubstr("--tmpfs /run: ")) << options;
    }
    for (const char* path : {"", "run", "/", "//"}) EXPECT_FALSE(parse_tmpfs(path, "")) << path;
}

TEST(GuestOptions, SysctlsAreWrittenAsPathsAndNoneLeadsElsewhere) {
    EXPECT_EQ(sysctl_setting("net.core.somaxconn", "1").value(), "net/core/somaxconn=1");
    EXPECT_EQ(sysctl_setting("net/ipv4/conf/eth0.1/tag", "2").value(),
              "net/ipv4/conf/eth0.1/tag=2");
    EXPECT_EQ(sysctl_setting("net.ipv4.conf.eth0/1.tag", "2").value(),
              "net/ipv4/conf/eth0.1/tag=2");
    for (const char* name : {"", "Net.x", "net..x", ".net", "net.", "net/../x", "..", "a b", "a;b",
                             "net.//.x", "/etc/passwd"})
        EXPECT_FALSE(sysctl_setting(name, "1")) << name;
    EXPECT_FALSE(sysctl_setting("a.b", std::string("1\0", 2)));
    EXPECT_FALSE(sysctl_setting("a.b", std::string(5000, '1')));
}

TEST(GuestOptions, NameServersAndHostsBecomeLines) {
    ContainerConfig config;
    config.dns = {"10.0.0.2", "fd00::2"};
    config.dns_search = {"a.example", "b.example"};
    config.dns_options = {"ndots:2"};
    config.extra_hosts = {"db:10.0.0.3", "six=fd00::3", "seven:[fd00::4]"};
    EXPECT_THAT(resolv_conf_of(config).value(),
                ElementsAre("nameserver 10.0.0.2", "nameserver fd00::2",
                            "search a.example b.example", "options ndots:2"));
    EXPECT_THAT(extra_host_lines(config).value(),
                ElementsAre("10.0.0.3\tdb", "fd00::3\tsix", "fd00::4\tseven"));
    config.dns_search = {"."};
    EXPECT_EQ(resolv_conf_of(config).value().size(), 3u);
}

TEST(GuestOptions, WhatIsNoAddressOrNameIsRefusedByName) {
    const auto refusal_of = [](auto&& change) {
        ContainerConfig config;
        change(config);
        const auto status = validate_guest_options(config);
        return status ? std::string() : status.error().message;
    };
    EXPECT_THAT(refusal_of([](auto& c) { c.dns = {"dns.example"}; }), HasSubstr("--dns "));
    EXPECT_THAT(refusal_of([](auto& c) { c.dns_search = {"a b"}; }), HasSubstr("--dns-search"));
    EXPECT_THAT(refusal_of([](auto& c) { c.dns_options = {"a\nb"}; }), HasSubstr("--dns-option"));
    EXPECT_THAT(refusal_of([](auto& c) { c.extra_hosts = {"x:host-gateway"}; }),
                HasSubstr("host-gateway"));
    EXPECT_THAT(refusal_of([](auto& c) { c.extra_hosts = {"x"}; }), HasSubstr("--add-host x"));
    EXPECT_THAT(refusal_of([](auto& c) { c.groups = {"a b"}; }), HasSubstr("--group-add"));
    EXPECT_THAT(refusal_of([](auto& c) { c.pids_limit = 5'000'000; }), HasSubstr("--pids-limit"));
    EXPECT_THAT(refusal_of([](auto& c) { c.shm_bytes = 1ull << 50; }), HasSubstr("--shm-size"));
    EXPECT_THAT(refusal_of([](auto& c) { c.log.driver = "syslog"; }), HasSubstr("--log-driver"));
    EXPECT_THAT(refusal_of([](auto& c) { c.log.max_files = 21; }), HasSubstr("max-file"));
    EXPECT_THAT(refusal_of([](auto& c) { c.sysctls["a b"] = "1"; }), HasSubstr("--sysctl a b"));
    EXPECT_EQ(refusal_of([](auto&) {}), "");
}

}  // namespace
}  // namespace drupe::engine
