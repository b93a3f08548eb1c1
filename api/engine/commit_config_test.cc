#include "api/engine/commit_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace drupe::engine {
namespace {

using nlohmann::json;

constexpr const char* kParent = R"({"architecture":"amd64","os":"linux","author":"old",
    "config":{"Env":["PATH=/bin","A=1"],"Cmd":["sh"],"Labels":{"from":"image"}},
    "rootfs":{"type":"layers","diff_ids":["sha256:base"]},
    "history":[{"created_by":"base"}]})";

Container container() {
    Container c;
    c.id = std::string(64, 'c');
    c.config.cmd = {{"echo", "hi"}};
    c.config.env = {"PATH=/bin", "A=2"};
    c.config.working_dir = "/work";
    return c;
}

Result<std::string> commit(std::vector<std::string> changes) {
    return commit_config(kParent, container(), {"me", "why", std::move(changes)}, "sha256:top",
                         1'000'000'000);
}

json config_after(std::vector<std::string> changes) {
    const auto text = commit(std::move(changes));
    EXPECT_TRUE(text) << text.error().message;
    return text ? json::parse(text.value())["config"] : json();
}

TEST(CommitConfigTest, TheContainersSettingsAreOverItsImages) {
    const auto text = commit({});
    ASSERT_TRUE(text);
    const json image = json::parse(text.value());
    EXPECT_EQ(image["config"]["Cmd"], json({"echo", "hi"}));
    EXPECT_EQ(image["config"]["Env"], json({"PATH=/bin", "A=2"}));
    EXPECT_EQ(image["config"]["WorkingDir"], "/work");
    EXPECT_EQ(image["config"]["Labels"]["from"], "image");
    EXPECT_EQ(image["author"], "me");
    EXPECT_EQ(image["created"], "1970-01-01T00:00:01Z");
    EXPECT_EQ(image["rootfs"]["diff_ids"], json({"sha256:base", "sha256:top"}));
    ASSERT_EQ(image["history"].size(), 2U);
    EXPECT_EQ(image["history"][1]["created_by"], "echo hi");
    EXPECT_EQ(image["history"][1]["comment"], "why");
    EXPECT_EQ(image["architecture"], "amd64");
}

TEST(CommitConfigTest, WhatTheContainerSaysOfBuildsIsTheImages) {
    Container with = container();
    with.config.on_build = {"RUN x"};
    const auto text = commit_config(kParent, with, {}, "sha256:top", 1'000'000'000);
    ASSERT_TRUE(text);
    EXPECT_EQ(json::parse(text.value())["config"]["OnBuild"], json({"RUN x"}));
}

TEST(CommitConfigTest, ChangesAreDockerfileInstructions) {
    EXPECT_EQ(config_after({R"(CMD ["a", "b c"])"})["Cmd"], json({"a", "b c"}));
    EXPECT_EQ(config_after({"cmd a b"})["Cmd"], json({"/bin/sh", "-c", "a b"}));
    EXPECT_EQ(config_after({"ENTRYPOINT [\"e\"]"})["Entrypoint"], json({"e"}));
    EXPECT_EQ(config_after({"ENV A=3 B='x y' C=\"q\\\"\""})["Env"],
              json({"PATH=/bin", "A=3", "B=x y", "C=q\""}));
    EXPECT_EQ(config_after({"ENV D the rest"})["Env"].back(), "D=the rest");
    EXPECT_EQ(config_after({"LABEL a=b c=d"})["Labels"],
              json({{"from", "image"}, {"a", "b"}, {"c", "d"}}));
    EXPECT_EQ(config_after({"EXPOSE 80 53/udp"})["ExposedPorts"],
              json({{"80/tcp", json::object()}, {"53/udp", json::object()}}));
    EXPECT_EQ(config_after({"VOLUME [\"/v\"]"})["Volumes"], json({{"/v", json::object()}}));
    EXPECT_EQ(config_after({"USER nobody"})["User"], "nobody");
    EXPECT_EQ(config_after({"WORKDIR /a", "WORKDIR b"})["WorkingDir"], "/a/b");
    EXPECT_EQ(config_after({"STOPSIGNAL INT"})["StopSignal"], "INT");
    EXPECT_EQ(config_after({"ONBUILD RUN x"})["OnBuild"], json({"RUN x"}));
}

TEST(CommitConfigTest, AHealthCheckIsAChangeToo) {
    EXPECT_EQ(
        config_after({"HEALTHCHECK --interval=1m30s --retries=2 CMD test -f /ok"})["Healthcheck"],
        json({{"Test", {"CMD-SHELL", "test -f /ok"}},
              {"Interval", 90'000'000'000},
              {"Retries", 2}}));
    EXPECT_EQ(config_after({"healthcheck --timeout=1.5ms cmd [\"a\", \"b\"]"})["Healthcheck"],
              json({{"Test", {"CMD", "a", "b"}}, {"Timeout", 1'500'000}}));
    EXPECT_EQ(config_after({"HEALTHCHECK NONE"})["Healthcheck"], json({{"Test", {"NONE"}}}));
    for (const char* bad :
         {"HEALTHCHECK", "HEALTHCHECK NONE x", "HEALTHCHECK CMD", "HEALTHCHECK --what=1 CMD x",
          "HEALTHCHECK --interval=5 CMD x", "HEALTHCHECK --interval=1us CMD x",
          "HEALTHCHECK --interval=99999999999h CMD x", "HEALTHCHECK --retries=-1 CMD x"}) {
        const auto text = commit({bad});
        ASSERT_FALSE(text) << bad;
        EXPECT_EQ(text.error().code, ErrorCode::kInvalid);
    }
}

TEST(CommitConfigTest, WhatIsNoChangeIsRefusedByName) {
    for (const char* bad :
         {"", "CMD", "RUN x", "ENV", "ENV A", "ENV =b", "LABEL x", "STOPSIGNAL WHAT", "COPY a b"}) {
        const auto text = commit({bad});
        ASSERT_FALSE(text) << bad;
        EXPECT_EQ(text.error().code, ErrorCode::kInvalid);
    }
}

TEST(CommitConfigTest, ABrokenParentIsRefused) {
    for (const char* bad : {"", "[]", "{}", R"({"rootfs":{"diff_ids":7}})"})
        EXPECT_FALSE(commit_config(bad, container(), {}, "sha256:top", 0)) << bad;
}

}  // namespace
}  // namespace drupe::engine
