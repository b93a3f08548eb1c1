#include "guest-init/identity.h"

#include <gtest/gtest.h>

namespace drupe::init {
namespace {

TEST(Identity, HostsBeginWithLocalhostAndEndWithTheOrdersLines) {
    protocol::Identity identity;
    identity.hosts = {"10.0.0.2 web", "10.0.0.3 db"};

    const std::string text = hosts_text(identity);

    EXPECT_EQ(text.find("127.0.0.1\tlocalhost\n"), 0U);
    EXPECT_NE(text.find("\n10.0.0.2 web\n10.0.0.3 db\n"), std::string::npos);
}

TEST(Identity, ResolvConfHoldsTheOrdersLinesOnly) {
    protocol::Identity identity;
    EXPECT_EQ(resolv_conf_text(identity), "");
    identity.resolv_conf = {"nameserver 10.0.0.1"};
    EXPECT_EQ(resolv_conf_text(identity), "nameserver 10.0.0.1\n");
}

}  // namespace
}  // namespace drupe::init
