#include "imagefs/store/layer_packer.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "imagefs/store/layer_format.h"

namespace drupe::imagefs {
namespace {

constexpr uint64_t kBatchBlocks = 256;  // 1 MiB

bool is_zero(std::span<const std::byte> block) {
    // A block is zero if its first byte is and each byte equals its neighbour.
    return block[0] == std::byte{0} &&
           std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

class Packer {
  public:
    Packer(const BlockMap& touched, LayeredDisk& ours, const LayeredDisk& below,
           LayerWriter& writer)
        : map_(touched), ours_disk_(ours), below_(below), writer_(writer) {}

    [[nodiscard]] Status run() {
        for (uint64_t lba = 0; lba < map_.blocks();) {
            const BlockMap::Run run = map_.run(lba, map_.blocks() - lba);
            if (run.state == BlockState::kData) {
                TRY(data(lba, run.blocks));
            } else if (run.state != BlockState::kAbsent) {
                TRY(zeroes(lba, run.blocks));
            }
            lba += run.blocks;
        }
        return ok();
    }

  private:
    enum class Fate : uint8_t { kDropped, kZero, kData };

    [[nodiscard]] Status data(uint64_t lba, uint64_t blocks) {
        while (blocks > 0) {
            TRY_ASSIGN(const MergedIndex::Run below,
                       below_.parent_run(lba, std::min(blocks, kBatchBlocks)));
            const iovec v{ours_.data(), below.blocks * kBlock};
            TRY(ours_disk_.read(lba * kBlock, {&v, 1}));
            if (below.present) {
                TRY(below_.read_parent(lba, below.blocks, parents_.data()));
            }
            TRY(sort_out(lba, below));
            lba += below.blocks;
            blocks -= below.blocks;
        }
        return ok();
    }

    [[nodiscard]] Fate fate(uint64_t i, bool parent_present) const {
        const auto ours = std::span(ours_).subspan(i * kBlock, kBlock);
        if (!parent_present) return is_zero(ours) ? Fate::kDropped : Fate::kData;
        const auto theirs = std::span(parents_).subspan(i * kBlock, kBlock);
        if (std::memcmp(ours.data(), theirs.data(), kBlock) == 0) return Fate::kDropped;
        return is_zero(ours) ? Fate::kZero : Fate::kData;
    }

    /// The blocks in the buffers, in runs of one fate.
    [[nodiscard]] Status sort_out(uint64_t lba, const MergedIndex::Run& below) {
        for (uint64_t i = 0; i < below.blocks;) {
            const Fate first = fate(i, below.present);
            uint64_t count = 1;
            while (i + count < below.blocks && fate(i + count, below.present) == first) ++count;
            if (first == Fate::kZero) {
                TRY(writer_.add_zero(lba + i, count));
            } else if (first == Fate::kData) {
                TRY(writer_.add_data(lba + i,
                                     std::span(ours_).subspan(i * kBlock, count * kBlock)));
            }
            i += count;
        }
        return ok();
    }

    [[nodiscard]] Status zeroes(uint64_t lba, uint64_t blocks) {
        while (blocks > 0) {
            TRY_ASSIGN(const MergedIndex::Run below, below_.parent_run(lba, blocks));
            if (below.present) {
                TRY(writer_.add_zero(lba, below.blocks));
            }
            lba += below.blocks;
            blocks -= below.blocks;
        }
        return ok();
    }

    const BlockMap& map_;
    LayeredDisk& ours_disk_;
    const LayeredDisk& below_;
    LayerWriter& writer_;
    std::vector<std::byte> ours_ = std::vector<std::byte>(kBatchBlocks * kBlock);
    std::vector<std::byte> parents_ = std::vector<std::byte>(kBatchBlocks * kBlock);
};

}  // namespace

Status pack_layer(const BlockMap& touched, LayeredDisk& ours, const LayeredDisk& below,
                  LayerWriter& writer) {
    return Packer(touched, ours, below, writer).run();
}

}  // namespace drupe::imagefs
