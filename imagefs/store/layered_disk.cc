#include "imagefs/store/layered_disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "imagefs/store/block_io.h"
#include "imagefs/store/layer_format.h"

namespace drupe::imagefs {
namespace {

Error read_only_error() {
    return Error{ErrorCode::kDenied, "the disk is read-only"};
}

}  // namespace

Result<std::unique_ptr<LayeredDisk>> LayeredDisk::open(DiskFiles files) {
    std::optional<WritableTop> top;
    if (files.top_data.valid()) {
        TRY_ASSIGN(WritableTop opened,
                   WritableTop::open(std::move(files.top_data), std::move(files.top_meta)));
        opened.limit(files.max_top_bytes / kBlockSize);
        if (files.is_volatile && !files.known_whole && !opened.was_clean()) {
            return Error{ErrorCode::kCorrupt,
                         "the disk is of a container that goes with its end (--rm), and was in use "
                         "when the host stopped: its files may be torn, remove it"};
        }
        if (files.is_volatile) opened.make_volatile();
        top = std::move(opened);
    }
    return open_below(std::move(files), std::move(top));
}

Result<std::unique_ptr<LayeredDisk>> LayeredDisk::open_to_read(DiskFiles files) {
    std::optional<WritableTop> top;
    if (files.top_data.valid()) {
        TRY_ASSIGN(WritableTop opened,
                   WritableTop::open_to_read(std::move(files.top_data), std::move(files.top_meta)));
        top = std::move(opened);
    }
    TRY_ASSIGN(auto disk, open_below(std::move(files), std::move(top)));
    disk->to_read_ = true;
    return disk;
}

Result<std::unique_ptr<LayeredDisk>> LayeredDisk::open_below(DiskFiles files,
                                                             std::optional<WritableTop> top) {
    std::optional<MergedIndex> index;
    if (files.index.valid()) {
        TRY_ASSIGN(MergedIndex opened, MergedIndex::open(files.index, "of the disk"));
        index = std::move(opened);
    }
    return assemble(std::move(index), std::move(files.layers), std::move(top));
}

Result<std::unique_ptr<LayeredDisk>> LayeredDisk::assemble(std::optional<MergedIndex> index,
                                                           std::vector<Fd> layers,
                                                           std::optional<WritableTop> top) {
    const size_t expected = index ? index->layer_count() : 0;
    if (layers.size() != expected || (!index && !top)) {
        return Error{ErrorCode::kInvalid, fmt::format("a disk of {} layer files, an index of {}",
                                                      layers.size(), expected)};
    }
    std::vector<bool> imported;
    for (uint32_t i = 0; i < layers.size(); ++i) {
        TRY_ASSIGN(const LayerInfo info,
                   read_layer_header(layers[i].get(), fmt::format("{} of the disk", i)));
        const MergedIndex::Layer in_index = index->layer(i);
        if (info.uuid != in_index.uuid || info.data_begin() != in_index.data_begin ||
            info.data_end() != in_index.data_end ||
            info.identity.virtual_blocks != index->virtual_blocks()) {
            return Error{ErrorCode::kCorrupt,
                         fmt::format("layer file {} of the disk isn't the one that the merged "
                                     "index was made from",
                                     i)};
        }
        imported.push_back(!info.identity.diff_id.is_null());
    }
    if (index && top && top->map().blocks() != index->virtual_blocks()) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("a top of {} blocks over a chain of {}", top->map().blocks(),
                                 index->virtual_blocks())};
    }
    if (index && top && top->chain_id() && *top->chain_id() != index->chain_id()) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("the top was made for chain {}, not for {}",
                                 top->chain_id()->to_string(), index->chain_id().to_string())};
    }
    std::unique_ptr<LayeredDisk> disk(new LayeredDisk);
    disk->virtual_blocks_ = index ? index->virtual_blocks() : top->map().blocks();
    disk->index_ = std::move(index);
    disk->layers_ = std::move(layers);
    disk->imported_ = std::move(imported);
    disk->top_ = std::move(top);
    return disk;
}

Result<MergedIndex::Run> LayeredDisk::parent_run(uint64_t lba, uint64_t max_blocks) const {
    if (index_) return index_->lookup(lba, max_blocks);
    return MergedIndex::Run{max_blocks, false, 0, 0};
}

Result<DiskExtent> LayeredDisk::locate_below(uint64_t lba, uint64_t blocks) const {
    TRY_ASSIGN(const MergedIndex::Run run, parent_run(lba, blocks));
    const int fd = run.present ? layers_[run.layer].get() : -1;
    return DiskExtent{fd, run.offset * kBlockSize, run.blocks * kBlockSize};
}

Result<DiskExtent> LayeredDisk::locate(uint64_t offset, uint64_t length) {
    const uint64_t lba = offset / kBlockSize;
    const uint64_t blocks = length / kBlockSize;
    if (!top_) return locate_below(lba, blocks);
    const BlockMap::Run run = top_->map().run(lba, blocks);
    if (run.state == BlockState::kAbsent) return locate_below(lba, run.blocks);
    const int fd = run.state == BlockState::kData ? top_->data_fd() : -1;
    return DiskExtent{fd, offset, run.blocks * kBlockSize};
}

Error LayeredDisk::name_file(Error error, int fd) const {
    const auto is_it = [fd](const Fd& layer) { return layer.get() == fd; };
    const auto layer = std::ranges::find_if(layers_, is_it);
    if (layer == layers_.end()) return std::move(error).wrap("the disk's top");
    return std::move(error).wrap(
        fmt::format("layer file {} of the disk", std::distance(layers_.begin(), layer)));
}

Status LayeredDisk::read_parent(uint64_t lba, uint64_t blocks, std::byte* out) const {
    while (blocks > 0) {
        TRY_ASSIGN(const DiskExtent piece, locate_below(lba, blocks));
        const std::span<std::byte> part(out, piece.bytes);
        if (piece.zeroes()) {
            std::ranges::fill(part, std::byte{0});
        } else if (Status read = read_exact(piece.fd, part, piece.offset); !read) {
            return name_file(std::move(read).error(), piece.fd);
        }
        out += piece.bytes;
        lba += piece.bytes / kBlockSize;
        blocks -= piece.bytes / kBlockSize;
    }
    return ok();
}

Status LayeredDisk::read(uint64_t offset, std::span<const iovec> out) {
    uint64_t length = IovecCursor::total(out);
    TRY(check_range(offset, length, size_bytes()));
    IovecCursor cursor(out);
    while (length > 0) {
        TRY_ASSIGN(const DiskExtent piece, locate(offset, length));
        if (piece.zeroes()) {
            cursor.zero(piece.bytes);
        } else if (Status read = read_at(piece.fd, cursor, piece.bytes, piece.offset); !read) {
            return name_file(std::move(read).error(), piece.fd);
        }
        offset += piece.bytes;
        length -= piece.bytes;
    }
    return ok();
}

Result<DiskExtent> LayeredDisk::begin_write(uint64_t offset, uint64_t length) {
    if (read_only()) return read_only_error();
    TRY(top_->begin_write(offset / kBlockSize, length / kBlockSize));
    return DiskExtent{top_->data_fd(), offset, length};
}

void LayeredDisk::end_write(uint64_t offset, uint64_t length, bool landed) {
    top_->end_write(offset / kBlockSize, length / kBlockSize, landed);
}

int LayeredDisk::flush_fd() const {
    return !read_only() && top_->only_data_is_unsynced() ? top_->data_fd() : -1;
}

void LayeredDisk::end_flush(const Status& synced) {
    if (!synced) top_->sync_failed(synced.error());
}

Status LayeredDisk::write(uint64_t offset, std::span<const iovec> data) {
    const uint64_t length = IovecCursor::total(data);
    TRY(check_range(offset, length, size_bytes()));
    TRY_ASSIGN(const DiskExtent piece, begin_write(offset, length));
    IovecCursor cursor(data);
    Status written = write_at(piece.fd, cursor, length, piece.offset);
    end_write(offset, length, written.has_value());
    return written;
}

Status LayeredDisk::flush() {
    if (read_only()) return ok();
    return top_->flush();
}

Status LayeredDisk::write_zeroes(uint64_t offset, uint64_t length, bool /*may_unmap*/) {
    if (read_only()) return read_only_error();
    TRY(check_range(offset, length, size_bytes()));
    uint64_t lba = offset / kBlockSize;
    const uint64_t end = lba + length / kBlockSize;
    while (lba < end) {
        const BlockMap::Run run = top_->map().run(lba, end - lba);
        if (run.state == BlockState::kZero || run.state == BlockState::kZeroPending) {
            lba += run.blocks;
            continue;
        }
        TRY_ASSIGN(const MergedIndex::Run below, parent_run(lba, run.blocks));
        if (below.present) {
            TRY(top_->zero(lba, below.blocks));
        } else if (run.state == BlockState::kData) {
            TRY(top_->drop(lba, below.blocks));
        }
        lba += below.blocks;
    }
    return ok();
}

Status LayeredDisk::discard(uint64_t offset, uint64_t length) {
    return write_zeroes(offset, length, true);
}

Status LayeredDisk::close() {
    if (read_only()) return ok();
    return top_->close();
}

}  // namespace drupe::imagefs
