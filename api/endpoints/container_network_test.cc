#include "api/endpoints/container_network.h"

#include <gtest/gtest.h>

#include "api/endpoints/create_body.h"
#include "imagefs/store/test_support.h"

namespace drupe::endpoints {
namespace {

using imagefs::test::TempDir;
using imagefs::test::value_of;
using nlohmann::json;

class ContainerNetworkTest : public ::testing::Test {
  protected:
    ContainerNetworkTest() {
        front_.name = "front";
        EXPECT_OK(networks_.create(front_));
        daemon::Network back;
        back.name = "back";
        EXPECT_OK(networks_.create(back));
    }
    /// The network mode that a container gets.
    Result<std::string> choose(const std::string& mode, const std::string& endpoint) {
        engine::ContainerConfig config;
        config.network_mode = mode;
        TRY(choose_network(networks_, endpoint, config));
        return config.network_mode;
    }

    TempDir dir_;
    imagefs::Database db_ = value_of(imagefs::Database::open(dir_.file("drupe.db")));
    daemon::Networks networks_ = value_of(daemon::Networks::open(db_));
    daemon::Network front_;
};

TEST_F(ContainerNetworkTest, TheEndpointsNetworkIsTheContainersIfNoModeSaysOtherwise) {
    EXPECT_EQ(value_of(choose("default", "front")), "front");
    EXPECT_EQ(value_of(choose("default", front_.id)), "front");
    EXPECT_EQ(value_of(choose("default", "none")), "none");
    EXPECT_EQ(value_of(choose("default", "default")), "default");
    EXPECT_EQ(value_of(choose("default", "bridge")), "default");
    EXPECT_EQ(value_of(choose("default", "")), "default");
    EXPECT_EQ(value_of(choose("front", "")), "front");
    EXPECT_EQ(value_of(choose("front", "front")), "front");
    EXPECT_EQ(value_of(choose("front", front_.id)), "front");
}

TEST_F(ContainerNetworkTest, AnUnknownOneASecondOneAndTheHostsAreRefused) {
    EXPECT_FAILS(choose("default", "nosuch"), kNotFound, "network nosuch not found");
    EXPECT_FAILS(choose("nosuch", "front"), kNotFound, "network nosuch not found");
    EXPECT_FAILS(choose("front", "back"), kUnsupported, "several networks");
    EXPECT_FAILS(choose("none", "front"), kUnsupported, "several networks");
    EXPECT_FAILS(choose("default", "host"), kUnsupported, "network host");
}

TEST(EndpointTest, ABodyNamesOneNetworkAtMost) {
    const auto endpoint = [](const char* text) -> Result<std::string> {
        TRY_ASSIGN(const NetworkEndpoint parsed, parse_endpoint(json::parse(text)));
        return parsed.network;
    };
    EXPECT_EQ(value_of(endpoint(R"({})")), "");
    EXPECT_EQ(value_of(endpoint(R"({"NetworkingConfig":{"EndpointsConfig":null}})")), "");
    EXPECT_EQ(value_of(endpoint(R"({"NetworkingConfig":{"EndpointsConfig":{"n":null}}})")), "n");
    EXPECT_EQ(value_of(endpoint(
                  R"({"NetworkDisabled":true,"NetworkingConfig":{"EndpointsConfig":{"n":{}}}})")),
              "");
    EXPECT_FAILS(endpoint(R"({"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}})"),
                 kUnsupported, "EndpointsConfig");
}

TEST(EndpointTest, ItsAliasesAreKept) {
    const auto endpoint = parse_endpoint(
        json::parse(R"({"NetworkingConfig":{"EndpointsConfig":{"n":{"Aliases":["web","app"]}}}})"));
    EXPECT_EQ(value_of(endpoint).aliases, (std::vector<std::string>{"web", "app"}));
}

}  // namespace
}  // namespace drupe::endpoints
