#include "api/endpoints/resource_limits.h"

#include <gtest/gtest.h>

namespace drupe::endpoints {
namespace {

Result<ResourceLimits> parse(const char* text) {
    return parse_resource_limits(nlohmann::json::parse(text));
}

TEST(ResourceLimitsTest, ZeroesSayNothing) {
    const auto limits = parse(
        R"({"Memory":0,"NanoCpus":0,"CpuPeriod":0,"CpuQuota":0,"PidsLimit":null,"MemorySwap":0})");
    ASSERT_TRUE(limits) << limits.error().message;
    EXPECT_FALSE(limits.value().memory_bytes || limits.value().nano_cpus ||
                 limits.value().pids_limit);
}

TEST(ResourceLimitsTest, AQuotaIsCpusByItsPeriod) {
    EXPECT_EQ(parse(R"({"CpuQuota":50000})").value().nano_cpus, 500'000'000U);
    EXPECT_EQ(parse(R"({"CpuQuota":3000,"CpuPeriod":2000})").value().nano_cpus, 1'500'000'000U);
    EXPECT_EQ(parse(R"({"CpuQuota":1024000000,"CpuPeriod":1000000})").value().nano_cpus,
              1'024'000'000'000U);
}

TEST(ResourceLimitsTest, WhatIsNegativeWhereDockerHasItSoLiftsTheLimit) {
    EXPECT_EQ(parse(R"({"PidsLimit":-1})").value().pids_limit, 0U);
    EXPECT_EQ(parse(R"({"CpuQuota":-1})").value().nano_cpus, 0U);
    EXPECT_EQ(parse(R"({"CpuQuota":-1,"NanoCpus":5})").value().nano_cpus, 5U);
}

TEST(ResourceLimitsTest, WhatDockerdRefusesIsRefusedByName) {
    constexpr std::pair<const char*, const char*> kBad[] = {
        {R"({"Memory":-5})", "Memory"},
        {R"({"Memory":18446744073709551615})", "Memory"},
        {R"({"NanoCpus":-1})", "NanoCpus"},
        {R"({"CpuPeriod":100000})", "CpuPeriod"},
        {R"({"CpuPeriod":100000,"CpuQuota":-1})", "CpuPeriod"},
        {R"({"CpuPeriod":999,"CpuQuota":5000})", "CpuPeriod"},
        {R"({"CpuPeriod":1000001,"CpuQuota":5000})", "CpuPeriod"},
        {R"({"CpuPeriod":-1,"CpuQuota":5000})", "CpuPeriod"},
        {R"({"CpuQuota":999})", "CpuQuota"},
        {R"({"CpuQuota":9223372036854775807})", "CpuQuota"},
        {R"({"CpuQuota":18446744074,"CpuPeriod":1000000})", "CpuQuota"},
        {R"({"CpuQuota":5000,"NanoCpus":1})", "CPU Quota"},
        {R"({"CpuPeriod":5000,"NanoCpus":1})", "CPU Period"},
    };
    for (const auto& [body, named] : kBad) {
        const auto limits = parse(body);
        ASSERT_FALSE(limits) << body;
        EXPECT_EQ(limits.error().code, ErrorCode::kInvalid) << body;
        EXPECT_NE(limits.error().message.find(named), std::string::npos) << limits.error().message;
    }
}

}  // namespace
}  // namespace drupe::endpoints
