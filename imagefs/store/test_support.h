#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layered_disk.h"
#include "imagefs/store/test_files.h"

/// For the tests of imagefs/store: files, recognizable blocks, small chains.
namespace drupe::imagefs::test {

using Block = std::array<std::byte, 4096>;

/// The value of a Result, or the test's end.
template <class T>
T value_of(Result<T> result, const char* what = "") {
    if (!result) {
        ADD_FAILURE() << what << result.error().message;
        std::abort();
    }
    return std::move(result).value();
}

#define EXPECT_OK(expression)                                                           \
    do {                                                                                \
        auto&& expect_ok = (expression);                                                \
        EXPECT_TRUE(expect_ok) << (expect_ok ? "" : expect_ok.error().message.c_str()); \
    } while (false)
#define ASSERT_OK(expression)                                                           \
    do {                                                                                \
        auto&& assert_ok = (expression);                                                \
        ASSERT_TRUE(assert_ok) << (assert_ok ? "" : assert_ok.error().message.c_str()); \
    } while (false)

/// The expression fails with this code and a message that contains the text.
#define EXPECT_FAILS(expression, expected_code, text)                          \
    do {                                                                       \
        auto&& expect_fails = (expression);                                    \
        ASSERT_FALSE(expect_fails);                                            \
        EXPECT_EQ(static_cast<int>(expect_fails.error().code),                 \
                  static_cast<int>(ErrorCode::expected_code))                  \
            << expect_fails.error().message;                                   \
        EXPECT_THAT(expect_fails.error().message, ::testing::HasSubstr(text)); \
    } while (false)

/// In memory where that is possible, unless told otherwise.
class TempDir {
  public:
    explicit TempDir(bool on_disk = false) {
        const bool memory = !on_disk && ::access("/dev/shm", W_OK) == 0;
        const std::filesystem::path base =
            memory ? "/dev/shm" : std::filesystem::temp_directory_path();
        std::string pattern = (base / "drupe-store-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path_ = pattern;
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

inline std::string content_of(int fd) {
    std::string content(static_cast<size_t>(::lseek(fd, 0, SEEK_END)), '\0');
    if (!read_exact(fd, std::as_writable_bytes(std::span(content)), 0)) std::abort();
    return content;
}

/// A block that is told from others by every 8 bytes of it; stamp 0 is a block of zeroes.
inline Block stamped(uint64_t stamp) {
    Block block;
    for (size_t i = 0; i < block.size(); i += sizeof stamp) {
        std::memcpy(block.data() + i, &stamp, sizeof stamp);
    }
    return block;
}
/// The stamp; nullopt if the block isn't all one stamp.
inline std::optional<uint64_t> stamp_of(std::span<const std::byte> block) {
    uint64_t stamp = 0;
    std::memcpy(&stamp, block.data(), sizeof stamp);
    const Block expected = stamped(stamp);
    if (std::memcmp(block.data(), expected.data(), expected.size()) != 0) return std::nullopt;
    return stamp;
}

inline Status write_stamp(BlockBackend& disk, uint64_t lba, uint64_t stamp) {
    Block block = stamped(stamp);
    const iovec v{block.data(), block.size()};
    return disk.write(lba * 4096, {&v, 1});
}
inline std::optional<uint64_t> read_stamp(BlockBackend& disk, uint64_t lba) {
    Block block;
    block.fill(std::byte{0xEE});
    const iovec v{block.data(), block.size()};
    if (Status read = disk.read(lba * 4096, {&v, 1}); !read) {
        ADD_FAILURE() << read.error().message;
        return std::nullopt;
    }
    return stamp_of(block);
}

inline Digest digest_number(uint8_t n) {
    Digest digest;
    digest.bytes.fill(n);
    return digest;
}

/// One block of a layer to be: its stamp, or a mark of zeroes.
struct LayerBlock {
    uint64_t lba;
    uint64_t stamp;  ///< 0: a ZERO extent
};

/// A sealed layer; number n's parent is number n - 1, and 1 has none.
inline LayerFile make_layer(uint8_t number, uint64_t virtual_blocks,
                            const std::vector<LayerBlock>& blocks, Fd file = memory_file()) {
    LayerIdentity identity;
    identity.chain_id = digest_number(number);
    if (number > 1) identity.parent = digest_number(static_cast<uint8_t>(number - 1));
    identity.diff_id = digest_number(static_cast<uint8_t>(100 + number));
    identity.virtual_blocks = virtual_blocks;
    LayerWriter writer = value_of(LayerWriter::create(std::move(file), identity));
    for (const LayerBlock& block : blocks) {
        if (block.stamp == 0) {
            EXPECT_OK(writer.add_zero(block.lba, 1));
        } else {
            EXPECT_OK(writer.add_data(block.lba, stamped(block.stamp)));
        }
    }
    LayerWriter::Finished finished = value_of(writer.finish());
    return value_of(LayerFile::open(std::move(finished.fd), "test " + std::to_string(number)));
}

inline Fd make_index(std::span<const LayerFile> layers) {
    Fd fd = memory_file();
    EXPECT_OK(write_merged_index(fd.get(), layers));
    return fd;
}

/// The chain's descriptors, without a top.
inline DiskFiles files_of(std::span<const LayerFile> layers) {
    DiskFiles files;
    files.index = make_index(layers);
    for (const LayerFile& layer : layers) {
        files.layers.push_back(Fd(::fcntl(layer.fd(), F_DUPFD_CLOEXEC, 3)));
    }
    files.virtual_bytes = layers[0].info().identity.virtual_blocks * 4096;
    return files;
}

}  // namespace drupe::imagefs::test
