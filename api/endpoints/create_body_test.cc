#include "api/endpoints/create_body.h"

#include <gtest/gtest.h>

#include "api/endpoints/call.h"
#include "api/endpoints/name_pattern.h"
#include "api/engine/container_json.h"
#include "api/engine/inspect.h"

namespace drupe::endpoints {
namespace {

using nlohmann::json;

Result<engine::ContainerConfig> parse(const char* text) {
    return parse_create_body(json::parse(text));
}

/// What the docker CLI sends when nothing is asked for.
constexpr const char* kPlain = R"({"Hostname":"","User":"","AttachStdout":true,"AttachStderr":true,
  "Tty":false,"Env":["A=b"],"Cmd":["sh","-c","x"],"Image":"busybox","Volumes":{},"WorkingDir":"",
  "Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":null,"ContainerIDFile":"",
  "LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},
  "RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"ConsoleSize":[0,0],
  "CapAdd":null,"Dns":[],"ExtraHosts":null,"IpcMode":"","OomScoreAdj":0,"Privileged":false,
  "SecurityOpt":null,"Memory":67108864,"NanoCpus":500000000,"BlkioWeight":0,"Devices":[],
  "MemorySwap":0,"MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],
  "MaskedPaths":null},"NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":null,
  "Links":null,"MacAddress":"","IPAddress":"","GwPriority":0}}}})";

TEST(CreateBodyTest, ReadsWhatTheDockerClientSends) {
    const auto config = parse(kPlain);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config.value().image, "busybox");
    EXPECT_EQ(config.value().cmd, (std::vector<std::string>{"sh", "-c", "x"}));
    EXPECT_FALSE(config.value().entrypoint);
    EXPECT_TRUE(config.value().auto_remove);
    EXPECT_EQ(config.value().memory_bytes, 64u << 20);
    EXPECT_EQ(config.value().nano_cpus, 500'000'000u);
    EXPECT_EQ(config.value().network_mode, "default");
}

TEST(CreateBodyTest, ReadsOptionsThatAreHonoured) {
    const auto config = parse(R"({"Image":"i","Cmd":"one","StopTimeout":-1,
      "Healthcheck":{"Test":["CMD","true"],"Interval":1000000000,"Retries":2},
      "Labels":{"drupe.kernel-args":"quiet","drupe.boot":"cold"},
      "HostConfig":{"CpuQuota":150000,"CpuPeriod":100000,"PidsLimit":20,"ShmSize":1048576,
      "Tmpfs":{"/run":"size=1m"},"Sysctls":{"net.core.somaxconn":"12"},"Init":true,
      "RestartPolicy":{"Name":"on-failure","MaximumRetryCount":4},"StorageOpt":{"size":"10m"},
      "LogConfig":{"Type":"local","Config":{"max-size":"1m","max-file":"3"}},
      "Ulimits":[{"Name":"nofile","Soft":10,"Hard":-1}],"IpcMode":"private"}})");
    ASSERT_TRUE(config) << config.error().message;
    const engine::ContainerConfig& c = config.value();
    EXPECT_EQ(c.nano_cpus, 1'500'000'000u);
    EXPECT_EQ(c.pids_limit, 20u);
    EXPECT_EQ(c.cmd, std::vector<std::string>{"one"});
    EXPECT_EQ(c.stop_timeout_s, UINT32_MAX);
    EXPECT_EQ(c.health->retries, 2u);
    EXPECT_EQ(c.restart.max_retries, 4u);
    EXPECT_EQ(c.storage_bytes, 10u << 20);
    EXPECT_EQ(c.log.driver, "local");
    EXPECT_EQ(c.log.max_files, 3u);
    EXPECT_EQ(c.ulimits.front().hard, UINT64_MAX);
    EXPECT_EQ(c.tmpfs.at("/run"), "size=1m");
    EXPECT_EQ(c.kernel_args, "quiet");
}

TEST(CreateBodyTest, WhatIsWrittenIsReadAgain) {
    engine::ContainerConfig c;
    c.image = "app";
    c.entrypoint = std::vector<std::string>{"run"};
    c.cmd = std::vector<std::string>{"a b", "c"};
    c.env = {"A=b"};
    c.user = "u";
    c.working_dir = "/w";
    c.host_name = "h";
    c.labels = {{"x", "y"}};
    c.stop_signal = "TERM";
    c.stop_timeout_s = 3;
    c.shell = {"/bin/sh", "-xc"};
    c.ulimits = {{"nofile", 5, UINT64_MAX}};
    c.restart = {engine::RestartPolicy::Kind::kOnFailure, 4};
    c.health = engine::HealthCheck{{"CMD", "true"}, 1'000'000'000, 2'000'000, 0, 0, 3};
    c.log = {"local", 3 << 20, 2};
    c.exposed_ports = {"80/tcp"};
    c.on_build = {"RUN x"};
    c.network_mode = "none";
    c.tty = c.open_stdin = c.stdin_once = c.attach_stdout = true;
    c.read_only = c.init = c.privileged = true;
    c.memory_bytes = 64 << 20;
    c.storage_bytes = 10 << 20;
    c.nano_cpus = 1'500'000'000;
    c.shm_bytes = 1 << 20;
    c.pids_limit = 12;
    c.cap_add = {"NET_ADMIN"};
    c.cap_drop = {"ALL"};
    c.groups = {"7"};
    c.tmpfs = {{"/run", "size=1m"}};
    c.sysctls = {{"a.b", "1"}};
    c.dns = {"1.2.3.4"};
    c.dns_options = {"ndots:2"};
    c.dns_search = {"example.org"};
    c.extra_hosts = {"n:1.2.3.4"};
    const auto again = parse(engine::create_json(c).c_str());
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(to_json(again.value()), to_json(c));

    c.kernel = "/k";
    c.kernel_args = "quiet";
    c.console = c.timing = true;
    const auto own = parse(engine::create_json(c).c_str());
    ASSERT_TRUE(own) << own.error().message;
    EXPECT_EQ(own.value().kernel, "/k");
    EXPECT_EQ(own.value().kernel_args, "quiet");
    EXPECT_TRUE(own.value().console && own.value().timing);
}

TEST(CreateBodyTest, NetworkDisabledIsNoneWhateverTheHostConfigurationSays) {
    const auto config =
        parse(R"({"Image":"i","NetworkDisabled":true,"HostConfig":{"NetworkMode":"default"}})");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config.value().network_mode, "none");
}

TEST(CreateBodyTest, LabelsOfDrupesAreTrueOrFalse) {
    for (const char* on : {"1", "true"}) {
        const std::string body = std::string(R"({"Image":"i","Labels":{"drupe.timing":")") + on +
                                 R"(","drupe.console":"0"}})";
        const auto config = parse(body.c_str());
        ASSERT_TRUE(config) << config.error().message;
        EXPECT_TRUE(config.value().timing);
        EXPECT_FALSE(config.value().console);
    }
}

TEST(CreateBodyTest, OfTwoUlimitsOfANameTheLastWins) {
    const auto config = parse(R"({"Image":"i","HostConfig":{"Ulimits":[
      {"Name":"nofile","Soft":1,"Hard":2},{"Name":"core","Soft":0,"Hard":0},
      {"Name":"nofile","Soft":3,"Hard":4}]}})");
    ASSERT_TRUE(config) << config.error().message;
    ASSERT_EQ(config.value().ulimits.size(), 2u);
    EXPECT_EQ(config.value().ulimits.back().soft, 3u);
}

TEST(CreateBodyTest, NamesOfDockersDefaultRuntimeAndFormsOfPortsAreTaken) {
    for (const char* runtime : {"", "drupe", "runc", "io.containerd.runc.v2"}) {
        const json body{{"Image", "i"}, {"HostConfig", {{"Runtime", runtime}}}};
        EXPECT_TRUE(parse(body.dump().c_str())) << runtime;
    }
    const auto ports = parse(R"({"Image":"i","ExposedPorts":{"80":{},"53/UDP":{},"1-9/sctp":{}}})");
    ASSERT_TRUE(ports) << ports.error().message;
    EXPECT_EQ(ports.value().exposed_ports.size(), 3u);
}

struct Refusal {
    const char* body;
    ErrorCode code;
    const char* named;  ///< What the message has to name.
};

TEST(CreateBodyTest, RefusesTheRestByName) {
    const Refusal refusals[] = {
        {R"({"Image":""})", ErrorCode::kInvalid, "Image"},
        {R"({"Image":5})", ErrorCode::kInvalid, "Image"},
        {R"({"Image":"i","Env":[""]})", ErrorCode::kInvalid, "environment variable"},
        {R"({"Image":"i","Env":["=x"]})", ErrorCode::kInvalid, "environment variable"},
        {R"({"Image":"i","Env":"A=b"})", ErrorCode::kInvalid, "Env"},
        {R"({"Image":"i","Volumes":{"/data":{}}})", ErrorCode::kUnsupported, "-v"},
        {R"({"Image":"i","MacAddress":"02:42:ac:11:00:02"})", ErrorCode::kUnsupported,
         "MacAddress"},
        {R"({"Image":"i","Healthcheck":{"Test":["X"]}})", ErrorCode::kInvalid, "healthcheck"},
        {R"({"Image":"i","Healthcheck":{"Test":["CMD","x"],"Interval":5}})", ErrorCode::kInvalid,
         "Interval"},
        {R"({"Image":"i","HostConfig":{"Binds":["/a:/b"]}})", ErrorCode::kUnsupported, "Binds"},
        {R"({"Image":"i","HostConfig":{"PortBindings":{"80/tcp":[{}]}}})", ErrorCode::kUnsupported,
         "PortBindings"},
        {R"({"Image":"i","HostConfig":{"NetworkMode":"host"}})", ErrorCode::kUnsupported,
         "NetworkMode"},
        {R"({"Image":"i","HostConfig":{"PidMode":"host"}})", ErrorCode::kUnsupported, "PidMode"},
        {R"({"Image":"i","HostConfig":{"Devices":[{}]}})", ErrorCode::kUnsupported, "Devices"},
        {R"({"Image":"i","HostConfig":{"MemorySwap":5}})", ErrorCode::kInvalid, "Memoryswap"},
        {R"({"Image":"i","HostConfig":{"SecurityOpt":["apparmor=x"]}})", ErrorCode::kUnsupported,
         "SecurityOpt"},
        {R"({"Image":"i","HostConfig":{"Memory":-5}})", ErrorCode::kInvalid, "Memory"},
        {R"({"Image":"i","HostConfig":{"Memory":1.5}})", ErrorCode::kInvalid, "Memory"},
        {R"({"Image":"i","HostConfig":{"CpuQuota":1,"NanoCpus":1}})", ErrorCode::kInvalid, "CPU"},
        {R"({"Image":"i","HostConfig":{"CpuPeriod":100000}})", ErrorCode::kInvalid, "CpuPeriod"},
        {R"({"Image":"i","HostConfig":{"CpuPeriod":999,"CpuQuota":5000}})", ErrorCode::kInvalid,
         "CpuPeriod"},
        {R"({"Image":"i","HostConfig":{"OomScoreAdj":-1}})", ErrorCode::kUnsupported,
         "OomScoreAdj"},
        {R"({"Image":"i","HostConfig":{"OomScoreAdj":18446744073709551615}})",
         ErrorCode::kUnsupported, "OomScoreAdj"},
        {R"({"Image":"i","HostConfig":{"CpuShares":1e300}})", ErrorCode::kUnsupported, "CpuShares"},
        {R"({"Image":"i","HostConfig":{"MemorySwap":18446744073709551615}})", ErrorCode::kInvalid,
         "MemorySwap"},
        {R"({"Image":"i","HostConfig":{"SecurityOpt":["no-new-privileges"]}})",
         ErrorCode::kUnsupported, "setuid"},
        {R"({"Image":"i","Labels":{"drupe.console":"yes"}})", ErrorCode::kInvalid, "drupe.console"},
        {R"({"Image":"i","Labels":{"drupe.timing":""}})", ErrorCode::kInvalid, "drupe.timing"},
        {R"({"Image":"i","OnBuild":"RUN x"})", ErrorCode::kInvalid, "OnBuild"},
        {R"({"Image":"i","HostConfig":{"RestartPolicy":{"Name":"x"}}})", ErrorCode::kInvalid,
         "restart policy"},
        {R"({"Image":"i","HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}})",
         ErrorCode::kInvalid, "AutoRemove"},
        {R"({"Image":"i","HostConfig":{"LogConfig":{"Type":"syslog"}}})", ErrorCode::kUnsupported,
         "syslog"},
        {R"({"Image":"i","HostConfig":{"LogConfig":{"Type":"json-file","Config":{"tag":"x"}}}})",
         ErrorCode::kUnsupported, "tag"},
        {R"({"Image":"i","Labels":{"drupe.unknown":"1"}})", ErrorCode::kInvalid, "drupe.unknown"},
        {R"({"Image":"i","Labels":{"drupe.kernel":"x"}})", ErrorCode::kInvalid, "drupe.kernel"},
        {R"({"Image":"i","Labels":{"drupe.kernel":"/x\u0000y"}})", ErrorCode::kInvalid,
         "drupe.kernel"},
        {R"({"Image":"i","NetworkingConfig":{"EndpointsConfig":{"n":{"IPAMConfig":{"IPv4Address":"1.2.3.4"}}}}})",
         ErrorCode::kUnsupported, "IPAMConfig"},
        {R"({"Image":"i","NetworkingConfig":{"EndpointsConfig":{"n":{"GwPriority":-1}}}})",
         ErrorCode::kUnsupported, "GwPriority"},
        {R"({"Image":"i","NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}})",
         ErrorCode::kUnsupported, "several networks"},
        {R"({"Image":"i","HostConfig":{"Runtime":"kata"}})", ErrorCode::kInvalid,
         "unknown or invalid runtime name: kata"},
        {R"({"Image":"i","HostConfig":{"CgroupnsMode":"host"}})", ErrorCode::kUnsupported,
         "CgroupnsMode"},
        {R"({"Image":"i","Domainname":"a\nb"})", ErrorCode::kInvalid, "Domainname"},
        {R"({"Image":"i","ExposedPorts":{"80/xx":{}}})", ErrorCode::kInvalid, "invalid proto: xx"},
        {R"({"Image":"i","ExposedPorts":{"80/tcp\u0000":{}}})", ErrorCode::kInvalid,
         "invalid proto"},
        {R"({"Image":"i","ExposedPorts":{"http/tcp":{}}})", ErrorCode::kInvalid,
         "invalid port specification"},
        {R"({"Image":"i","ExposedPorts":{"65536":{}}})", ErrorCode::kInvalid,
         "invalid port specification"},
        {R"({"Image":"i","ExposedPorts":{"90-80/tcp":{}}})", ErrorCode::kInvalid,
         "invalid port specification"},
    };
    for (const Refusal& refusal : refusals) {
        const auto config = parse(refusal.body);
        ASSERT_FALSE(config) << refusal.body;
        EXPECT_EQ(config.error().code, refusal.code) << refusal.body << config.error().message;
        EXPECT_NE(config.error().message.find(refusal.named), std::string::npos)
            << config.error().message;
    }
}

TEST(FiltersTest, BothFormsAreRead) {
    const auto list = Filters::parse(R"({"label":["a=b","c"]})", {"label"}).value();
    EXPECT_TRUE(list.labels_match({{"a", "b"}, {"c", "d"}}));
    EXPECT_FALSE(list.labels_match({{"a", "x"}, {"c", "d"}}));
    const auto map =
        Filters::parse(R"({"status":{"exited":true,"dead":false}})", {"status"}).value();
    EXPECT_EQ(map.get("status"), std::vector<std::string>{"exited"});
    for (const char* bad :
         {"x", "[]", R"({"other":["x"]})", R"({"label":[5]})", R"({"label":"x"})"}) {
        EXPECT_FALSE(Filters::parse(bad, {"label"})) << bad;
    }
    EXPECT_EQ(Filters::parse(R"({"dangling":["true"]})", {"dangling"})
                  .value()
                  .boolean("dangling")
                  .value(),
              true);
    EXPECT_FALSE(
        Filters::parse(R"({"dangling":["maybe"]})", {"dangling"}).value().boolean("dangling"));
}

TEST(NamePatternTest, IsARegularExpressionThatCostsLittle) {
    EXPECT_TRUE(NamePattern::compile("^we").value().matches("web"));
    EXPECT_FALSE(NamePattern::compile("^eb").value().matches("web"));
    EXPECT_TRUE(NamePattern::compile("e.$").value().matches("web"));
    EXPECT_FALSE(NamePattern::compile("(a{1,1000}){1,1000}"));
    EXPECT_FALSE(NamePattern::compile("("));
}

}  // namespace
}  // namespace drupe::endpoints
