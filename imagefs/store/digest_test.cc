#include "imagefs/store/digest.h"

#include "imagefs/store/sha256.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

TEST(Digest, TextFormRoundTrips) {
    const Digest digest = sha256(std::string_view("abc"));
    EXPECT_EQ(digest.to_string(),
              "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(test::value_of(Digest::parse(digest.to_string())), digest);
    EXPECT_EQ(test::value_of(Digest::parse(digest.hex())), digest);
}

TEST(Digest, AnythingButSixtyFourLowerCaseDigitsIsRefused) {
    const std::string good(64, 'a');
    for (const std::string& text :
         {std::string(), std::string("sha256:"), good.substr(1), good + "0", "sha512:" + good,
          "g" + good.substr(1), "A" + good.substr(1), "sha256:sha256:" + good}) {
        EXPECT_FAILS(Digest::parse(text), kInvalid, "not a SHA-256 digest");
    }
}

TEST(ChainId, FollowsTheRuleOfOci) {
    // sha256("sha256:" 64 digits " sha256:" 64 digits), computed with sha256sum.
    const ChainId parent = sha256(std::string_view("a"));
    const Digest diff = sha256(std::string_view("b"));
    EXPECT_EQ(child_chain_id(parent, diff),
              sha256(std::string_view("sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b980"
                                      "7785afee48bb sha256:3e23e8160039594a33894f6564e1b1348bbd7a"
                                      "0088d42c4acb73eeaed59c009d")));
    EXPECT_NE(root_chain_id("ext4/1/64GiB"), root_chain_id("ext4/1/32GiB"));
}

}  // namespace
}  // namespace drupe::imagefs
