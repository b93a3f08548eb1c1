#include "imagefs/store/layer_builder.h"

#include <fmt/core.h>

#include <utility>

#include "imagefs/store/layer_format.h"
#include "imagefs/store/layer_packer.h"

namespace drupe::imagefs {
namespace {

Status check_blocks(uint64_t lba, uint64_t blocks, uint64_t size) {
    if (lba <= size && blocks <= size - lba) return ok();
    return Error{ErrorCode::kInvalid,
                 fmt::format("{} blocks at {} are outside a disk of {}", blocks, lba, size)};
}

}  // namespace

Result<LayerBuilder> LayerBuilder::create(std::optional<ChainId> parent_id, DiskFiles parent,
                                          uint64_t virtual_blocks, Fd scratch) {
    LayerBuilder builder;
    builder.parent_id_ = std::move(parent_id);
    TRY_ASSIGN(WritableTop top, WritableTop::scratch(std::move(scratch), virtual_blocks));
    std::optional<MergedIndex> index;
    if (parent.index.valid()) {
        TRY_ASSIGN(MergedIndex opened, MergedIndex::open(parent.index, "of the parent"));
        index = std::move(opened);
    }
    TRY_ASSIGN(builder.disk_,
               LayeredDisk::assemble(std::move(index), std::move(parent.layers), std::move(top)));
    return builder;
}

Status LayerBuilder::read(uint64_t lba, uint64_t blocks, void* out) {
    TRY(check_blocks(lba, blocks, virtual_blocks()));
    const iovec v{out, blocks * kBlock};
    return disk_->read(lba * kBlock, {&v, 1});
}

Status LayerBuilder::write(uint64_t lba, uint64_t blocks, const void* data) {
    TRY(check_blocks(lba, blocks, virtual_blocks()));
    const iovec v{const_cast<void*>(data), blocks * kBlock};
    return disk_->write(lba * kBlock, {&v, 1});
}

Status LayerBuilder::zero(uint64_t lba, uint64_t blocks) {
    TRY(check_blocks(lba, blocks, virtual_blocks()));
    return disk_->write_zeroes(lba * kBlock, blocks * kBlock, true);
}

Result<LayerWriter::Finished> LayerBuilder::seal(Fd out, const LayerIdentity& identity) const {
    if (identity.parent != parent_id_ || identity.virtual_blocks != virtual_blocks()) {
        return Error{ErrorCode::kInternal, "a layer is sealed as another's child"};
    }
    TRY_ASSIGN(LayerWriter writer, LayerWriter::create(std::move(out), identity));
    TRY(pack_layer(disk_->top()->map(), *disk_, *disk_, writer));
    return writer.finish();
}

}  // namespace drupe::imagefs
