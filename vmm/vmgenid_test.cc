#include "vmm/vmgenid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/codec.h"

namespace drupe {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kEnd = 2 << 20;
constexpr uint64_t kHigh = 4ULL << 30;
constexpr uint64_t kPlace = 0xa0000;

class VmGenIdTest : public ::testing::Test {
  protected:
    /// Its 16 bytes, and the one behind them.
    [[nodiscard]] std::vector<std::byte> bytes_at(uint64_t address) const {
        std::vector<std::byte> bytes(17);
        memory_.slice(address, bytes.size())->copy_to(bytes);
        return bytes;
    }
    [[nodiscard]] std::string error_of(std::string_view bytes) const {
        const auto decoded = VmGenId::decode(memory_, bytes);
        if (decoded) return "";
        EXPECT_EQ(decoded.error().code, ErrorCode::kCorrupt);
        return decoded.error().message;
    }
    [[nodiscard]] std::string error_of(uint64_t address) const {
        Encoder out;
        out.put(address);
        return error_of(out.bytes());
    }

    const GuestMemory memory_ =
        std::move(
            GuestMemory::create(std::array<GuestMemory::Range, 2>{{{0, kEnd}, {kHigh, 4096}}}))
            .value();
};

VmGenId::Id id_of(std::byte byte) {
    VmGenId::Id id;
    id.fill(byte);
    return id;
}

TEST_F(VmGenIdTest, TheIdIsTheFirstBytesOfItsPage) {
    const VmGenId vmgenid = VmGenId::create(memory_, kPlace).value();
    vmgenid.set(id_of(std::byte{0xa5}));
    std::vector<std::byte> expected(16, std::byte{0xa5});
    expected.push_back(std::byte{0});
    EXPECT_EQ(bytes_at(kPlace), expected);
    EXPECT_EQ(memory_.read<uint8_t>(kPlace - 1), 0);
}

TEST_F(VmGenIdTest, ARestoredOneIsInTheSamePlaceAndTheIdIsLeftToItsOwner) {
    const VmGenId saved = VmGenId::create(memory_, kPlace).value();
    saved.set(id_of(std::byte{1}));
    const std::string bytes = saved.encode();
    EXPECT_EQ(bytes, std::string("\0\0\x0a\0\0\0\0\0", 8));
    const VmGenId restored = VmGenId::decode(memory_, bytes).value();
    EXPECT_EQ(bytes_at(kPlace)[0], std::byte{1});
    restored.set(id_of(std::byte{2}));
    EXPECT_EQ(bytes_at(kPlace)[15], std::byte{2});
    EXPECT_EQ(restored.encode(), bytes);
}

TEST_F(VmGenIdTest, OnlyAWholePageOfRamIsAPlace) {
    for (const uint64_t address : {uint64_t{0}, kEnd - 4096, kHigh})
        EXPECT_EQ(error_of(address), "") << address;
    for (const uint64_t address :
         {kPlace + 1, kPlace + 16, kPlace + 4095, kEnd, kEnd - 1, uint64_t{0xd0000000},
          kHigh - 4096, kHigh + 4096, UINT64_MAX - 4095, UINT64_MAX - 15, UINT64_MAX})
        EXPECT_THAT(error_of(address),
                    HasSubstr("section device.vmgenid: no page of RAM for a generation id is at"))
            << address;
    EXPECT_EQ(VmGenId::create(memory_, kEnd).error().code, ErrorCode::kInvalid);
}

TEST_F(VmGenIdTest, OtherLengthsAreRefused) {
    for (size_t size = 0; size < 20; ++size) {
        if (size == 8) continue;
        EXPECT_THAT(error_of(std::string(size, '\0')), HasSubstr("cut short")) << size;
    }
}

}  // namespace
}  // namespace drupe
