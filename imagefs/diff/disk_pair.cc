#include "imagefs/diff/disk_pair.h"

#include <algorithm>
#include <vector>

namespace drupe::imagefs {
namespace {

class LayeredPair final : public DiskPair {
  public:
    LayeredPair(std::unique_ptr<LayeredDisk> before, std::unique_ptr<LayeredDisk> after)
        : before_(std::move(before)), after_(std::move(after)) {
        const MergedIndex* old_index = before_->index();
        const MergedIndex* new_index = after_->index();
        const uint32_t shared = std::min(old_index->layer_count(), new_index->layer_count());
        while (shared_layers_ < shared &&
               old_index->layer(shared_layers_).uuid == new_index->layer(shared_layers_).uuid) {
            ++shared_layers_;
        }
        for (uint32_t i = shared_layers_; i < new_index->layer_count(); ++i) {
            by_kernels_ = by_kernels_ && !after_->is_imported(i);
        }
        by_kernels_ = by_kernels_ && shared_layers_ == old_index->layer_count();
    }

    BlockBackend& before() override { return *before_; }
    BlockBackend& after() override { return *after_; }
    bool by_kernels() const override { return by_kernels_; }

    Result<Run> run(uint64_t lba, uint64_t max_blocks) const override {
        if (after_->top() != nullptr) {
            const BlockMap::Run top = after_->top()->map().run(lba, max_blocks);
            if (top.state != BlockState::kAbsent) return Run{top.blocks, true};
            max_blocks = top.blocks;
        }
        TRY_ASSIGN(const MergedIndex::Run old_run, before_->parent_run(lba, max_blocks));
        TRY_ASSIGN(const MergedIndex::Run new_run, after_->parent_run(lba, max_blocks));
        const uint64_t blocks = std::min(old_run.blocks, new_run.blocks);
        const bool same = old_run.present == new_run.present &&
                          (!old_run.present ||
                           (old_run.layer == new_run.layer && old_run.offset == new_run.offset &&
                            old_run.layer < shared_layers_));
        return Run{blocks, !same};
    }

  private:
    std::unique_ptr<LayeredDisk> before_;
    std::unique_ptr<LayeredDisk> after_;
    uint32_t shared_layers_ = 0;  ///< From the bottom.
    bool by_kernels_ = true;
};

class UnrelatedPair final : public DiskPair {
  public:
    UnrelatedPair(std::unique_ptr<BlockBackend> before, std::unique_ptr<BlockBackend> after)
        : before_(std::move(before)), after_(std::move(after)) {}
    BlockBackend& before() override { return *before_; }
    BlockBackend& after() override { return *after_; }
    Result<Run> run(uint64_t /*lba*/, uint64_t max_blocks) const override {
        return Run{max_blocks, true};
    }
    bool by_kernels() const override { return false; }

  private:
    std::unique_ptr<BlockBackend> before_;
    std::unique_ptr<BlockBackend> after_;
};

}  // namespace

Result<std::unique_ptr<DiskPair>> make_layered_pair(std::unique_ptr<LayeredDisk> before,
                                                    std::unique_ptr<LayeredDisk> after) {
    if (before->index() == nullptr || after->index() == nullptr || before->top() != nullptr ||
        before->size_bytes() != after->size_bytes()) {
        return Error{ErrorCode::kInvalid, "these are not two states of one image's disk"};
    }
    return std::unique_ptr<DiskPair>(
        std::make_unique<LayeredPair>(std::move(before), std::move(after)));
}

std::unique_ptr<DiskPair> make_unrelated_pair(std::unique_ptr<BlockBackend> before,
                                              std::unique_ptr<BlockBackend> after) {
    return std::make_unique<UnrelatedPair>(std::move(before), std::move(after));
}

}  // namespace drupe::imagefs
