#include "api/engine/container.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "api/engine/container_json.h"
#include "api/engine/environment.h"
#include "api/engine/names.h"
#include "api/engine/time_text.h"

namespace drupe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

ImageConfig image() {
    ImageConfig config;
    config.entrypoint = {"/entry"};
    config.cmd = {"serve", "-x"};
    config.env = {"PATH=/bin", "A=image"};
    config.working_dir = "/srv";
    config.user = "www";
    config.stop_signal = "SIGQUIT";
    config.shell = {"/bin/ash", "-xc"};
    config.labels = {{"a", "image"}, {"b", "image"}};
    return config;
}

TEST(Merge, WithoutOptionsTheImageDecides) {
    const ContainerConfig merged = merge({}, image()).value();
    EXPECT_THAT(argv_of(merged), ElementsAre("/entry", "serve", "-x"));
    EXPECT_EQ(merged.working_dir, "/srv");
    EXPECT_EQ(merged.user, "www");
    EXPECT_EQ(merged.stop_signal, "SIGQUIT");
    EXPECT_THAT(merged.shell, ElementsAre("/bin/ash", "-xc"));
    EXPECT_THAT(merged.env, ElementsAre("PATH=/bin", "A=image"));
}

TEST(Merge, ACommandReplacesTheImagesAndKeepsItsEntrypoint) {
    ContainerConfig asked;
    asked.cmd = Strings{"check"};
    EXPECT_THAT(argv_of(merge(asked, image()).value()), ElementsAre("/entry", "check"));
}

TEST(Merge, AnEntrypointDropsTheImagesCommandToo) {
    ContainerConfig asked;
    asked.entrypoint = Strings{"/bin/sh"};
    EXPECT_THAT(argv_of(merge(asked, image()).value()), ElementsAre("/bin/sh"));
}

TEST(Merge, AnEmptyListOfWordsIsNone) {
    ContainerConfig asked;
    asked.cmd = Strings{};
    EXPECT_EQ(argv_of(merge(asked, image()).value()), argv_of(merge({}, image()).value()));
    asked.entrypoint = Strings{};  // none, but the image's command
    EXPECT_EQ(argv_of(merge(asked, image()).value()), image().cmd);
    asked.cmd = Strings{"check"};
    EXPECT_THAT(argv_of(merge(asked, image()).value()), ElementsAre("check"));
}

TEST(Merge, AnEmptyEntrypointIsNoneAndThenACommandIsNeeded) {
    ContainerConfig asked;
    asked.entrypoint = Strings{""};
    EXPECT_FALSE(merge(asked, image()));
    asked.cmd = Strings{"ls"};
    EXPECT_THAT(argv_of(merge(asked, image()).value()), ElementsAre("ls"));
}

TEST(Merge, TheUsersVariablesAndLabelsWin) {
    ContainerConfig asked;
    asked.env = {"A=user", "B=new", "PATH"};
    asked.labels = {{"a", "user"}};
    const ContainerConfig merged = merge(asked, image()).value();
    EXPECT_THAT(merged.env, ElementsAre("A=user", "B=new"));  // PATH alone takes it away
    EXPECT_EQ(merged.labels.at("a"), "user");
    EXPECT_EQ(merged.labels.at("b"), "image");
}

TEST(Merge, NoCommandAnywhereIsAnErrorThatSaysWhatToDo) {
    const auto merged = merge({}, {});
    ASSERT_FALSE(merged);
    EXPECT_EQ(merged.error().code, ErrorCode::kInvalid);
    EXPECT_THAT(merged.error().message, HasSubstr("give one"));
}

TEST(Validate, WhatNoMachineCouldBeMadeOfIsRefused) {
    const auto refused = [](auto change) {
        ContainerConfig config = merge({}, image()).value();
        EXPECT_TRUE(validate(config));
        change(config);
        return !validate(config);
    };
    EXPECT_TRUE(refused([](auto& c) { c.memory_bytes = 1; }));
    EXPECT_TRUE(refused([](auto& c) { c.memory_bytes = UINT64_MAX; }));
    EXPECT_TRUE(refused([](auto& c) { c.nano_cpus = UINT64_MAX; }));
    EXPECT_TRUE(refused([](auto& c) { c.storage_bytes = kMinStorageBytes - 1; }));
    EXPECT_TRUE(refused([](auto& c) { c.storage_bytes = UINT64_MAX; }));
    EXPECT_TRUE(refused([](auto& c) { c.host_name = "a\nb"; }));
    EXPECT_TRUE(refused([](auto& c) { c.host_name = std::string(64, 'a'); }));
    EXPECT_TRUE(refused([](auto& c) { c.kernel_args = "quiet\n"; }));
    EXPECT_TRUE(refused([](auto& c) { c.kernel_args = std::string(1025, 'a'); }));
    EXPECT_TRUE(refused([](auto& c) { c.working_dir = "relative"; }));
    EXPECT_TRUE(refused([](auto& c) { c.env.push_back(std::string("A=\0b", 4)); }));
    EXPECT_TRUE(refused([](auto& c) { c.env.push_back("A=" + std::string(600 << 10, 'x')); }));
    EXPECT_TRUE(refused([](auto& c) { c.stop_signal = "SIGNOTHING"; }));
    EXPECT_TRUE(refused([](auto& c) { c.ulimits.push_back({"nofile", 2, 1}); }));
}

TEST(ParseSignal, NamesAndNumbersAreUnderstood) {
    EXPECT_EQ(parse_signal("9").value(), 9u);
    EXPECT_EQ(parse_signal("KILL").value(), 9u);
    EXPECT_EQ(parse_signal("sigterm").value(), static_cast<uint32_t>(SIGTERM));
    EXPECT_EQ(parse_signal("RTMIN+1").value(), 35u);
    for (const char* bad : {"", "0", "65", "-1", "SIG", "TERMINATE", "9x", "RTMIN+99"}) {
        EXPECT_FALSE(parse_signal(bad)) << bad;
    }
}

TEST(ParseUlimit, SoftAndHardAreRead) {
    const Ulimit limit = parse_ulimit("nofile=1024:2048").value();
    EXPECT_EQ(limit.name, "nofile");
    EXPECT_EQ(limit.soft, 1024u);
    EXPECT_EQ(limit.hard, 2048u);
    EXPECT_EQ(parse_ulimit("core=-1").value().hard, RLIM_INFINITY);
    for (const char* bad : {"", "nofile", "nofile=", "files=1", "nofile=2:1", "nofile=1:2:3"}) {
        EXPECT_FALSE(parse_ulimit(bad)) << bad;
    }
}

TEST(ContainerJson, AConfigurationSurvivesTheRoundTrip) {
    ContainerConfig config;
    config.image = "debian:12";
    config.entrypoint = Strings{"/bin/sh", "-c"};
    config.env = {"A=b \"c\"", "B="};
    config.labels = {{"k", "v"}};
    config.ulimits = {{"nofile", 1, RLIM_INFINITY}};
    config.stop_timeout_s = 3;
    config.tty = true;
    config.memory_bytes = 1ull << 33;
    config.storage_bytes = 1ull << 34;
    config.kernel = "/k";
    config.kernel_args = "mitigations=off";
    const ContainerConfig read = parse_container_config(to_json(config)).value();
    EXPECT_EQ(to_json(read), to_json(config));
    EXPECT_FALSE(read.cmd);
    EXPECT_EQ(read.entrypoint, config.entrypoint);
    EXPECT_EQ(read.ulimits.at(0).hard, RLIM_INFINITY);
    EXPECT_EQ(read.stop_timeout_s, 3u);
}

TEST(ContainerJson, WhatIsNoConfigurationIsCorruptAndNamesTheMember) {
    for (const char* text : {"", "[]", "{\"env\":3}", "{\"tty\":1}", "{\"memory_bytes\":-1}",
                             "{\"ulimits\":[3]}", "{\"labels\":{\"a\":1}}"}) {
        const auto read = parse_container_config(text);
        ASSERT_FALSE(read) << text;
        EXPECT_EQ(read.error().code, ErrorCode::kCorrupt);
    }
    EXPECT_THAT(parse_container_config("{\"env\":3}").error().message, HasSubstr("env"));
}

TEST(ContainerJson, TimesAreRfc3339) {
    EXPECT_EQ(time_text(0), "0001-01-01T00:00:00Z");
    EXPECT_EQ(time_text(1'700'000'000'000'000'000), "2023-11-14T22:13:20Z");
    EXPECT_EQ(time_text(1'700'000'000'050'000'000), "2023-11-14T22:13:20.05Z");
}

TEST(Names, IdsAreLongAndDifferAndNamesFollowTheRule) {
    const std::string id = random_id().value();
    EXPECT_EQ(id.size(), kIdDigits);
    EXPECT_NE(id, random_id().value());
    for (unsigned attempt = 0; attempt < 10; ++attempt) {
        EXPECT_TRUE(check_name(generated_name(UINT64_MAX - attempt, attempt)));
    }
    for (const char* bad : {"", "a", "-ab", "a b", "a/b", "a\n", "\xc3\xa4\xc3\xa4"}) {
        EXPECT_FALSE(check_name(bad)) << bad;
    }
}

TEST(Environment, DefaultsYieldToTheContainersAndThoseToTheSessions) {
    Container container;
    container.id = std::string(64, 'a');
    container.config.env = {"PATH=/only", "A=1"};
    EXPECT_THAT(session_environment(container, {"A=2"}, true),
                ElementsAre("PATH=/only", "HOSTNAME=aaaaaaaaaaaa", "TERM=xterm", "A=2"));
}

}  // namespace
}  // namespace drupe::engine
