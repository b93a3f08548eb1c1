#include <fcntl.h>
#include <fmt/core.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "imagefs/store/block_io.h"
#include "imagefs/store/sha256.h"
#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {
namespace {

/// An RFC 9562 version 4 UUID.
Result<Uuid> random_uuid() {
    Uuid uuid{};
    if (::getrandom(uuid.data(), uuid.size(), 0) != ssize_t{sizeof uuid}) {
        return os_error("getrandom");
    }
    uuid[6] = static_cast<uint8_t>((uuid[6] & 0x0F) | 0x40);
    uuid[8] = static_cast<uint8_t>((uuid[8] & 0x3F) | 0x80);
    return uuid;
}

/// Whether the file system on a disk says that its journal must be replayed. A disk that has no
/// ext4 on it needs nothing.
Result<bool> has_journal_to_replay(BlockBackend& disk) {
    constexpr size_t kSuperblockAt = 1024;
    constexpr size_t kMagicAt = kSuperblockAt + 0x38;
    constexpr size_t kIncompatAt = kSuperblockAt + 0x60;
    constexpr uint16_t kExt4Magic = 0xEF53;
    constexpr uint32_t kRecover = 0x4;  // EXT4_FEATURE_INCOMPAT_RECOVER
    std::array<std::byte, BlockBackend::kBlockSize> block{};
    const iovec v{block.data(), block.size()};
    TRY(disk.read(0, {&v, 1}));
    uint16_t magic = 0;
    uint32_t incompat = 0;
    std::memcpy(&magic, block.data() + kMagicAt, sizeof magic);
    std::memcpy(&incompat, block.data() + kIncompatAt, sizeof incompat);
    return magic == kExt4Magic && (incompat & kRecover) != 0;
}

}  // namespace

/// What becomes of a top: its data file gets a second name in layers/, and the row of its id goes
/// over to it and to the next pair of files in one transaction. Until then only names are added, so
/// a crash leaves the old top as it was and files without a row; after it, the old names are the
/// leftovers.
struct Store::Sealing {
    std::string id;
    TopRow row;
    DiskFiles old;  ///< The top, locked, and the chain below.
    DiskFiles next;
    SealedTop sealed;
    LayerIdentity identity;

    std::string data_path;
    std::string next_data_path;
    std::string next_meta_path;
};

Status Store::prepare(Sealing& s) {
    TRY_ASSIGN(const WritableTop top, [&]() -> Result<WritableTop> {
        TRY_ASSIGN(Fd data, s.old.top_data.duplicate());
        TRY_ASSIGN(Fd meta, s.old.top_meta.duplicate());
        return WritableTop::load(std::move(data), std::move(meta));
    }());
    LayerIdentity& identity = s.identity;
    TRY_ASSIGN(identity.chain_id, made_up_chain_id());
    identity.parent = s.row.chain_id;
    identity.virtual_blocks = top.map().blocks();
    TRY_ASSIGN(const Uuid uuid, random_uuid());
    TRY_ASSIGN(const SparseLayer layer,
               write_sparse_layer(s.old.top_data.get(), identity, uuid, top.map()));
    s.sealed.chain_id = identity.chain_id;
    s.sealed.parent = s.row.chain_id;
    s.sealed.stored_bytes = layer.info.stored_bytes();

    TRY_ASSIGN(const MergedIndex below, MergedIndex::open(s.old.index, "of the parent"));
    TRY_ASSIGN(TmpFile index, TmpFile::create(tmp_dir()));
    TRY(extend_merged_index(index.fd(), below, layer.info, layer.extents));
    TRY(index.publish_unsynced(index_path(identity.chain_id)));

    TRY(link_file(s.data_path, layer_path(identity.chain_id)));
    TRY(remove_if_there(s.next_data_path));
    TRY(remove_if_there(s.next_meta_path));
    s.next.virtual_bytes = s.old.virtual_bytes;
    TRY(open_top_files(s.id, s.row.serial + 1, O_CREAT | O_EXCL, s.next));
    return WritableTop::format(s.next.top_data.get(), s.next.top_meta.get(),
                               identity.virtual_blocks, identity.chain_id);
}

Status Store::sync(const Sealing& s) const {
    TRY(sync_file(s.old.top_data.get(), s.data_path));
    TRY(sync_dir(root_ + "/layers"));
    TRY(sync_file(s.next.top_data.get(), s.next_data_path));
    TRY(sync_file(s.next.top_meta.get(), s.next_meta_path));
    return sync_dir(top_dir(s.id));
}

Status Store::commit(const Sealing& s) {
    return db_.durable_transaction([&]() -> Status {
        TRY(insert_layer(s.identity, s.sealed.stored_bytes, LayerForm::kSparse,
                         s.sealed.needs_replay));
        return move_top(s.id, s.row.serial, s.sealed.chain_id);
    });
}

/// What the background does by the way, if it is late.
Status Store::make_room(std::string_view id) {
    TRY_ASSIGN(const TopRow row, top_row(id));
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(row.chain_id));
    if (records.size() < kMaxChainLayers / 2) return ok();
    return join(row.chain_id);
}

Result<SealedTop> Store::seal_top(std::string_view id) {
    TRY(make_room(id));                      // without a lease
    TRY_ASSIGN(const Fd lease_fd, lease());  // the new layer is no garbage before its row is there
    Sealing s;
    s.id = id;
    TRY_ASSIGN(s.row, top_row(id));
    TRY_ASSIGN(s.old, open_chain(s.row.chain_id));
    // Of the chain, not of the fewer files that it may have been flattened to.
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(s.row.chain_id));
    if (records.size() >= kMaxChainLayers) {
        return Error{ErrorCode::kLimit,
                     fmt::format("disk {} has {} layers of images; no more are possible", id,
                                 kMaxChainLayers)};
    }
    // What a machine takes in one message is bounded.
    if (s.old.layers.size() >= kMostOpenLayers) {
        TRY(flatten(s.row.chain_id));
        TRY_ASSIGN(s.old, open_chain(s.row.chain_id));
    }
    TRY(open_top_files(id, s.row.serial, 0, s.old));
    s.data_path = top_file(id, "data", s.row.serial);
    s.next_data_path = top_file(id, "data", s.row.serial + 1);
    s.next_meta_path = top_file(id, "meta", s.row.serial + 1);
    const auto seal = [&]() -> Status {
        TRY(prepare(s));
        // The layer is complete, and has no row yet: look at it through the files that there are.
        DiskFiles view;
        TRY_ASSIGN(IndexFile index, open_index(s.sealed.chain_id));
        view.index = std::move(index.fd);
        for (const Fd& layer : s.old.layers) {
            TRY_ASSIGN(Fd copy, layer.duplicate());
            view.layers.push_back(std::move(copy));
        }
        TRY_ASSIGN(Fd data, s.old.top_data.duplicate());
        view.layers.push_back(std::move(data));
        TRY_ASSIGN(const std::unique_ptr<LayeredDisk> disk, LayeredDisk::open(std::move(view)));
        TRY_ASSIGN(s.sealed.needs_replay, has_journal_to_replay(*disk));
        TRY(sync(s));
        return commit(s);
    };
    if (Status done = seal(); !done) {
        // A crash here would leave the same to the next prune.
        if (!s.sealed.chain_id.is_null()) {
            (void)remove_if_there(layer_path(s.sealed.chain_id));
            (void)remove_if_there(index_path(s.sealed.chain_id));
        }
        (void)remove_if_there(s.next_data_path);
        (void)remove_if_there(s.next_meta_path);
        return std::move(done).error().wrap(fmt::format("seal disk {}", id));
    }
    (void)remove_if_there(s.data_path);  // the layer's other name; remove_top() takes what is left
    (void)remove_if_there(top_file(id, "meta", s.row.serial));
    s.old = {};
    s.next = {};
    TRY_ASSIGN(s.sealed.files, open_top(id));
    return std::move(s.sealed);
}

Result<ChainId> Store::local_id(const ChainId& chain_id) {
    TRY_ASSIGN(Statement query, db_.prepare("SELECT chain_id FROM aliases WHERE alias = ?"));
    query.bind(0, chain_id.hex());
    TRY_ASSIGN(const bool known, query.step());
    if (!known) return chain_id;
    return Digest::parse(query.text(0));
}

Result<ChainId> Store::oci_chain_id(const ChainId& chain_id) {
    TRY_ASSIGN(Statement query, db_.prepare("SELECT alias FROM aliases WHERE chain_id = ?"));
    query.bind(0, chain_id.hex());
    TRY_ASSIGN(const bool known, query.step());
    if (!known) return chain_id;
    return Digest::parse(query.text(0));
}

Status Store::set_diff_id(const ChainId& name, const Digest& diff_id) {
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(name));
    const LayerRecord& layer = records.back();
    if (!layer.diff_id.is_null() || !layer.parent) {
        if (layer.diff_id == diff_id) return ok();
        return Error{ErrorCode::kConflict,
                     fmt::format("layer {} has the diffID {} already", layer.chain_id.to_string(),
                                 layer.diff_id.to_string())};
    }
    const LayerRecord& below = records[records.size() - 2];
    if (below.diff_id.is_null() && below.parent) {
        return Error{ErrorCode::kConflict,
                     fmt::format("the diffID of layer {}, below, isn't known yet",
                                 below.chain_id.to_string())};
    }
    TRY_ASSIGN(const ChainId parent, oci_chain_id(below.chain_id));
    return db_.transaction([&]() -> Status {
        TRY_ASSIGN(Statement update,
                   db_.prepare("UPDATE layers SET diff_id = ? WHERE chain_id = ?"));
        update.bind(0, diff_id.hex());
        update.bind(1, layer.chain_id.hex());
        TRY(update.run());
        // Nothing if the layer was pulled meanwhile, or sealed twice: one is enough to be found.
        TRY_ASSIGN(Statement insert,
                   db_.prepare("INSERT OR IGNORE INTO aliases SELECT ?1, ?2 WHERE NOT EXISTS "
                               "(SELECT 1 FROM layers WHERE chain_id = ?1)"));
        insert.bind(0, child_chain_id(parent, diff_id).hex());
        insert.bind(1, layer.chain_id.hex());
        return insert.run();
    });
}

}  // namespace drupe::imagefs
