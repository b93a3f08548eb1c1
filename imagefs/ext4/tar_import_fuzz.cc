// Anything as a layer, on a small image that has a bit of everything, in memory. What was accepted
// must be readable.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "imagefs/ext4/format.h"
#include "imagefs/ext4/image_reader.h"
#include "imagefs/ext4/layer_applier.h"
#include "imagefs/ext4/tar_applier.h"

using namespace drupe::imagefs;
using namespace drupe::imagefs::ext4;

namespace {

constexpr uint64_t kBlocks = 1 << 16;  // 256 MiB, of which little is used.

class NoContent final : public ContentReader {
  public:
    drupe::Result<ContentPiece> next() override { return ContentPiece{}; }
};

/// Reads through to a base that is never changed.
class Overlay final : public BlockDevice {
  public:
    explicit Overlay(BlockDevice& base)
        : base_(base), top_(make_memory_device(kBlocks, 16384)), changed_(kBlocks) {}
    uint64_t block_count() const override { return kBlocks; }
    drupe::Status read_blocks(uint64_t lba, std::span<std::byte> out) override {
        for (size_t i = 0; i < out.size() / kBlockSize; ++i) {
            const auto block = out.subspan(i * kBlockSize, kBlockSize);
            BlockDevice& from = lba + i < kBlocks && changed_[lba + i] ? *top_ : base_;
            TRY(from.read_blocks(lba + i, block));
        }
        return drupe::ok();
    }
    drupe::Status write_blocks(uint64_t lba, std::span<const std::byte> data) override {
        TRY(top_->write_blocks(lba, data));
        std::fill_n(changed_.begin() + static_cast<ptrdiff_t>(lba), data.size() / kBlockSize, true);
        return drupe::ok();
    }
    drupe::Status zero_blocks(uint64_t lba, uint64_t count) override {
        TRY(top_->zero_blocks(lba, count));
        std::fill_n(changed_.begin() + static_cast<ptrdiff_t>(lba), count, true);
        return drupe::ok();
    }

  private:
    BlockDevice& base_;
    std::unique_ptr<BlockDevice> top_;
    std::vector<bool> changed_;
};

void add(LayerApplier& applier, EntryType type, const char* path, const char* target = "") {
    Entry entry;
    entry.type = type;
    entry.path = path;
    entry.target = target;
    entry.mode = 0755;
    NoContent none;
    DRUPE_CHECK(applier.apply(entry, none).has_value());
}

std::unique_ptr<BlockDevice> make_base() {
    auto device = make_memory_device(kBlocks, 16384);
    DRUPE_CHECK(format_layer0(*device).has_value());
    auto applier = LayerApplier::open(*device, {}).value();
    add(applier, EntryType::kFile, "a/b/f");
    add(applier, EntryType::kHardlink, "a/h", "a/b/f");
    add(applier, EntryType::kSymlink, "s", "a/b");
    add(applier, EntryType::kSymlink, "up", "../../..");
    add(applier, EntryType::kFifo, "p");
    DRUPE_CHECK(applier.finish().has_value());
    return device;
}

class Input final : public ByteSource {
  public:
    explicit Input(std::span<const std::byte> bytes) : bytes_(bytes) {}
    drupe::Result<size_t> read(std::span<std::byte> out) override {
        const size_t count = std::min(out.size(), bytes_.size());
        std::copy_n(bytes_.begin(), count, out.begin());
        bytes_ = bytes_.subspan(count);
        return count;
    }

  private:
    std::span<const std::byte> bytes_;
};

void read_all_of(ImageReader& reader, const std::string& path, int depth) {
    const auto names = reader.list(path);
    DRUPE_CHECK(names.has_value());
    for (const std::string& name : names.value()) {
        const std::string child = path + "/" + name;
        const auto info = reader.stat(child);
        // A path can become too long to be asked for, but nothing else may go wrong.
        if (!info) {
            DRUPE_CHECK(info.error().code == drupe::ErrorCode::kLimit);
        } else if (info.value().entry.type == EntryType::kDirectory && depth < 64) {
            read_all_of(reader, child, depth + 1);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::unique_ptr<BlockDevice> base = make_base();
    Overlay device(*base);
    Input input({reinterpret_cast<const std::byte*>(data), size});
    const ApplyLimits limits{.max_entries = 1000, .max_content_bytes = 8 << 20};
    if (apply_tar(device, input, limits)) {
        auto reader = ImageReader::open(device);
        DRUPE_CHECK(reader.has_value());
        read_all_of(reader.value(), "", 0);
    }
    return 0;
}
