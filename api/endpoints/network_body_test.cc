#include "api/endpoints/network_body.h"

#include <gtest/gtest.h>

namespace drupe::endpoints {
namespace {

Result<daemon::Network> parse(const char* text) {
    return parse_network_body(nlohmann::json::parse(text));
}

/// What the docker CLI sends when nothing else is asked for, with a subnet and the like.
TEST(NetworkBodyTest, WhatInspectShowsIsKept) {
    const auto network = parse(R"({"Name":"n","Driver":"bridge","Scope":"","Internal":true,
      "Attachable":false,"Ingress":false,"ConfigOnly":false,"ConfigFrom":{"Network":""},
      "EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},
      "Config":[{"Subnet":"10.5.0.0/16","Gateway":"10.5.0.1","IPRange":""}]},
      "Options":{"a":"b"},"Labels":{"c":"d"}})");
    ASSERT_TRUE(network) << network.error().message;
    EXPECT_EQ(network.value().subnet, "10.5.0.0/16");
    EXPECT_EQ(network.value().gateway, "10.5.0.1");
    EXPECT_TRUE(network.value().internal);
    EXPECT_EQ(network.value().options.at("a"), "b");
    EXPECT_EQ(network.value().labels.at("c"), "d");
}

TEST(NetworkBodyTest, WhatItWouldNotShowIsRefusedByName) {
    constexpr std::pair<const char*, const char*> kRefused[] = {
        {R"({"Name":"n","IPAM":{"Driver":"other"}})", "IPAM.Driver"},
        {R"({"Name":"n","IPAM":{"Options":{"a":"b"}}})", "IPAM.Options"},
        {R"({"Name":"n","IPAM":{"Config":[{"Subnet":"10.5.0.0/16"},{"Subnet":"fd00::/64"}]}})",
         "--subnet"},
        {R"({"Name":"n","IPAM":{"Config":[{"Subnet":"10.5.0.0/16","IPRange":"10.5.1.0/24"}]}})",
         "--ip-range"},
        {R"({"Name":"n","IPAM":{"Config":[{"AuxiliaryAddresses":{"h":"10.5.0.5"}}]}})",
         "--aux-address"},
        {R"({"Name":"n","ConfigOnly":true})", "ConfigOnly"},
        {R"({"Name":"n","ConfigFrom":{"Network":"x"}})", "ConfigFrom"},
        {R"({"Name":"n","Ingress":true})", "Ingress"},
        {R"({"Name":"n","Scope":"swarm"})", "Scope"},
        {R"({"Name":"n","EnableIPv4":false})", "EnableIPv4"},
    };
    for (const auto& [body, named] : kRefused) {
        const auto network = parse(body);
        ASSERT_FALSE(network) << body;
        EXPECT_EQ(network.error().code, ErrorCode::kUnsupported) << body;
        EXPECT_NE(network.error().message.find(named), std::string::npos)
            << network.error().message;
    }
}

}  // namespace
}  // namespace drupe::endpoints
