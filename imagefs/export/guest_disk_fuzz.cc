// What a guest left on its disk, changed here and there: it is compared with what it was, and its
// changes written as a layer. Must end, with a result or an error.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/codec.h"
#include "imagefs/diff/docker_diff.h"
#include "imagefs/export/layer_tar.h"
#include "imagefs/ext4/format.h"
#include "imagefs/ext4/layer_applier.h"
#include "imagefs/store/block_io.h"

namespace drupe::imagefs {
namespace {

constexpr uint64_t kBlocks = 20'000;
constexpr size_t kBlock = BlockBackend::kBlockSize;
using Block = std::array<std::byte, kBlock>;
using Blocks = std::unordered_map<uint64_t, Block>;

/// Keeps what is written, and in which order the blocks are, so that an input can name them.
class Recorder final : public ext4::BlockDevice {
  public:
    uint64_t block_count() const override { return kBlocks; }
    Status read_blocks(uint64_t lba, std::span<std::byte> out) override {
        for (size_t at = 0; at < out.size(); at += kBlock, ++lba) {
            const auto found = blocks.find(lba);
            if (found == blocks.end()) {
                std::memset(out.data() + at, 0, kBlock);
            } else {
                std::memcpy(out.data() + at, found->second.data(), kBlock);
            }
        }
        return ok();
    }
    Status write_blocks(uint64_t lba, std::span<const std::byte> data) override {
        for (size_t at = 0; at < data.size(); at += kBlock, ++lba) {
            std::memcpy(blocks[lba].data(), data.data() + at, kBlock);
        }
        return ok();
    }
    Status zero_blocks(uint64_t lba, uint64_t count) override {
        for (uint64_t i = 0; i < count; ++i) blocks.erase(lba + i);
        return ok();
    }
    Blocks blocks;
};

class Disk final : public BlockBackend {
  public:
    explicit Disk(const Blocks& blocks) : blocks_(blocks) {}
    uint64_t size_bytes() const override { return kBlocks * kBlock; }
    bool read_only() const override { return true; }
    Status read(uint64_t offset, std::span<const iovec> out) override {
        TRY(check_range(offset, IovecCursor::total(out), size_bytes()));
        uint64_t lba = offset / kBlock;
        for (const iovec& v : out) {
            for (size_t at = 0; at < v.iov_len; at += kBlock, ++lba) {
                const auto found = blocks_.find(lba);
                auto* target = static_cast<std::byte*>(v.iov_base) + at;
                if (found == blocks_.end()) {
                    std::memset(target, 0, kBlock);
                } else {
                    std::memcpy(target, found->second.data(), kBlock);
                }
            }
        }
        return ok();
    }
    Status write(uint64_t, std::span<const iovec>) override { return denied(); }
    Status flush() override { return ok(); }
    Status write_zeroes(uint64_t, uint64_t, bool) override { return denied(); }
    Status discard(uint64_t, uint64_t) override { return denied(); }

  private:
    static Status denied() { return Error{ErrorCode::kDenied, "read-only"}; }
    const Blocks& blocks_;
};

class NoContent final : public ext4::ContentReader {
  public:
    Result<ext4::ContentPiece> next() override { return ext4::ContentPiece{}; }
};

Status fill(ext4::BlockDevice& device) {
    TRY(ext4::format_layer0(device));
    TRY_ASSIGN(auto applier, ext4::LayerApplier::open(device, {}));
    NoContent none;
    const auto add = [&](std::string path, ext4::EntryType type, uint64_t size = 0) {
        ext4::Entry entry;
        entry.path = std::move(path);
        entry.type = type;
        entry.mode = 0755;
        entry.size = size;
        if (type == ext4::EntryType::kSymlink) entry.target = std::string(size, 't');
        if (type == ext4::EntryType::kHardlink) entry.target = "d/file";
        entry.xattrs = {{"user.a", "b"}, {"user.long", std::string(size, 'x')}};
        return applier.apply(entry, none);
    };
    TRY(add("d/", ext4::EntryType::kDirectory));
    TRY(add("d/e/", ext4::EntryType::kDirectory));
    TRY(add("d/file", ext4::EntryType::kFile, 100));
    TRY(add("d/link", ext4::EntryType::kSymlink, 20));
    TRY(add("d/slow", ext4::EntryType::kSymlink, 200));
    TRY(add("d/hard", ext4::EntryType::kHardlink));
    TRY(add("pipe", ext4::EntryType::kFifo));
    for (int i = 0; i < 300; ++i) {
        TRY(add("many/a-name-of-some-length-" + std::to_string(i), ext4::EntryType::kFile));
    }
    TRY(applier.finish());
    return ok();
}

struct Original {
    Blocks blocks;
    std::vector<uint64_t> numbers;  ///< Those that aren't the journal's or bitmaps' only zeroes.
};

const Original& original() {
    static const Original made = [] {
        Recorder recorder;
        if (!fill(recorder)) std::abort();
        Original result{recorder.blocks, {}};
        for (const auto& [lba, block] : result.blocks) {
            const bool used = std::any_of(block.begin(), block.end(),
                                          [](std::byte byte) { return byte != std::byte{0}; });
            if (used) result.numbers.push_back(lba);
        }
        std::sort(result.numbers.begin(), result.numbers.end());
        return result;
    }();
    return made;
}

DiffLimits tight() {
    DiffLimits limits;
    limits.reading.max_metadata_blocks = 20'000;
    limits.reading.max_directory_bytes = 1 << 20;
    limits.reading.max_extents = 1000;
    limits.max_names = 20'000;
    limits.max_depth = 64;
    return limits;
}

void read(const Blocks& before, const Blocks& after) {
    const auto open = [&] {
        return TreeDiff::open(
            make_unrelated_pair(std::make_unique<Disk>(before), std::make_unique<Disk>(after)),
            tight());
    };
    if (auto diff = open()) {
        DockerDiff docker(diff.value(), [](char, std::string_view) -> Status { return ok(); });
        static_cast<void>(
            diff.value().walk([&](const Change& change) { return docker.add(change); }));
    }
    if (auto diff = open()) {
        static_cast<void>(write_layer_tar(
            diff.value(), [](std::string_view) -> Status { return ok(); }, {1 << 20}));
    }
}

}  // namespace
}  // namespace drupe::imagefs

/// Changes of 1 to 8 bytes: which block (2 bytes), where in it (2), how many (1), the bytes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace drupe::imagefs;
    const Original& image = original();
    Blocks changed = image.blocks;
    drupe::Decoder in({reinterpret_cast<const char*>(data), size});
    for (int i = 0; i < 64 && in.ok() && !in.at_end(); ++i) {
        const uint64_t lba = image.numbers[in.get<uint16_t>() % image.numbers.size()];
        const size_t at = in.get<uint16_t>() % kBlock;
        const size_t count = std::min<size_t>(in.get<uint8_t>() % 8 + 1, kBlock - at);
        for (size_t byte = 0; byte < count; ++byte) {
            changed[lba][at + byte] = std::byte{in.get<uint8_t>()};
        }
    }
    // Either may be the older one.
    read(image.blocks, changed);
    read(changed, image.blocks);
    return 0;
}
