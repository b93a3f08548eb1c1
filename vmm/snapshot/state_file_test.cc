#include "vmm/snapshot/state_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"

namespace drupe {
namespace {

using ::testing::HasSubstr;

std::vector<StateSection> two_sections() {
    return {{"machine", 1, "sixteen bytes..."}, {"blk0.queue", 7, "abc"}};
}

/// Where the first section's bytes are: behind the header, two entries and their checksum.
constexpr size_t kFirstSection = 24 + 2 * 48 + 4;

std::string message_of(const std::string& file) {
    const auto decoded = decode_state_file(file);
    return decoded ? "" : decoded.error().message;
}

/// Puts the header's checksum right.
std::string with_checksum(std::string file) {
    const size_t at = kFirstSection - 4;
    const uint32_t crc = crc32c(std::as_bytes(std::span(file).first(at)));
    file.replace(at, 4, reinterpret_cast<const char*>(&crc), 4);
    return file;
}

TEST(StateFileTest, SectionsComeBackAsTheyWere) {
    const auto decoded = decode_state_file(encode_state_file(two_sections()));
    ASSERT_TRUE(decoded);
    ASSERT_EQ(decoded.value().size(), 2U);
    EXPECT_EQ(find_section(decoded.value(), "machine", 1).value(), "sixteen bytes...");
    EXPECT_EQ(find_section(decoded.value(), "blk0.queue", 7).value(), "abc");
    EXPECT_TRUE(decode_state_file(encode_state_file({})));
    const StateSection empty{"empty", 1, ""};
    EXPECT_TRUE(decode_state_file(encode_state_file({&empty, 1})));
}

TEST(StateFileTest, AMissingSectionOrAnotherVersionIsNamed) {
    const auto sections = two_sections();
    EXPECT_EQ(find_section(sections, "rng", 1).error().message,
              "state file: there is no section rng");
    const auto version = find_section(sections, "machine", 2);
    EXPECT_EQ(version.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(version.error().message,
              "state file: section machine: version 1, this build reads 2: an older Drupe has "
              "saved it");
    EXPECT_THAT(find_section(sections, "blk0.queue", 6).error().message,
                HasSubstr("version 7, this build reads 6: a newer Drupe has saved it"));
}

TEST(StateFileTest, AFileCutAtAnyByteIsRefusedByTheNameOfWhatIsCut) {
    const std::string file = encode_state_file(two_sections());
    for (size_t size = 0; size < file.size(); ++size) {
        const std::string message = message_of(file.substr(0, size));
        EXPECT_THAT(message, HasSubstr("cut short")) << size;
        const char* const part = size < kFirstSection        ? "header"
                                 : size < kFirstSection + 16 ? "section machine"
                                                             : "section blk0.queue";
        EXPECT_THAT(message, HasSubstr(part)) << size;
    }
    EXPECT_EQ(message_of(file + "x"), "state file: 1 bytes are behind the last section");
}

TEST(StateFileTest, AnyFlippedBitIsRefusedByTheNameOfWhereItIs) {
    const std::string file = encode_state_file(two_sections());
    for (size_t bit = 0; bit < file.size() * 8; ++bit) {
        std::string flipped = file;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
        const std::string message = message_of(flipped);
        if (bit / 8 < kFirstSection) {
            EXPECT_THAT(message, HasSubstr("header")) << bit;
        } else {
            const char* const part =
                bit / 8 < kFirstSection + 16 ? "section machine" : "section blk0.queue";
            EXPECT_THAT(message, HasSubstr(part)) << bit;
            EXPECT_THAT(message, HasSubstr("its checksum is wrong")) << bit;
        }
    }
}

TEST(StateFileTest, AHeaderThatLiesWithARightChecksumIsRefused) {
    const std::string file = encode_state_file(two_sections());
    const auto changed = [&](size_t at, const std::string& bytes) {
        std::string copy = file;
        copy.replace(at, bytes.size(), bytes);
        return message_of(with_checksum(copy));
    };
    EXPECT_THAT(changed(8, "\2"), HasSubstr("format version 2"));
    EXPECT_THAT(changed(12, "\1"), HasSubstr("flags 0x1"));
    EXPECT_THAT(changed(16, "\xff"), HasSubstr("255 sections, the limit is 64"));
    EXPECT_THAT(changed(24, "MACHINE"), HasSubstr("section 0 has no proper name"));
    EXPECT_THAT(changed(24, std::string(32, 'a')), HasSubstr("section 0 has no proper name"));
    EXPECT_THAT(changed(24 + 20, "x"), HasSubstr("section 0 has no proper name"));
    EXPECT_THAT(changed(24 + 48, std::string("machine\0\0\0", 10)),
                HasSubstr("section machine: it is there twice"));
    EXPECT_THAT(changed(24 + 40, std::string(8, '\xff')), HasSubstr("section machine: cut short"));
}

}  // namespace
}  // namespace drupe
