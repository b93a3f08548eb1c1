#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "base/log.h"
#include "imagefs/store/layer_packer.h"
#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {
namespace {

/// The blocks that a layer says something of.
void touch(BlockMap& map, std::span<const LayerExtent> extents) {
    for (const LayerExtent& extent : extents) {
        map.set(extent.lba, extent.blocks,
                extent.kind == ExtentKind::kData ? BlockState::kData : BlockState::kZero);
    }
}

void touch(BlockMap& map, const BlockMap& top) {
    for (uint64_t lba = 0; lba < top.blocks();) {
        const BlockMap::Run run = top.run(lba, top.blocks() - lba);
        if (run.state != BlockState::kAbsent) map.set(lba, run.blocks, run.state);
        lba += run.blocks;
    }
}

}  // namespace

Result<uint64_t> Store::write_packed(const LayerIdentity& identity, const BlockMap& touched,
                                     LayeredDisk& ours, const std::string& path) {
    TRY_ASSIGN(DiskFiles below_files, open_chain(*identity.parent));
    TRY_ASSIGN(const std::unique_ptr<LayeredDisk> below, LayeredDisk::open(std::move(below_files)));
    TRY_ASSIGN(TmpFile file, TmpFile::create(tmp_dir()));
    TRY_ASSIGN(Fd out, file.duplicate());
    TRY_ASSIGN(LayerWriter writer, LayerWriter::create(std::move(out), identity));
    TRY(pack_layer(touched, ours, *below, writer));
    TRY_ASSIGN(const LayerWriter::Finished finished, writer.finish());
    TRY(file.publish(path));
    return finished.info.file_bytes;
}

Status Store::pack(const ChainId& name) {
    TRY_ASSIGN(const Fd lease_fd, lease());
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(name));
    const LayerRecord& record = records.back();
    if (!record.parent) return ok();
    const Part part{record.chain_id, false};
    TRY_ASSIGN(Fd fd, open_part(part));
    TRY_ASSIGN(const LayerFile layer, LayerFile::open(std::move(fd), part_path(part)));
    LayerIdentity identity = layer.info().identity;
    if (identity.parent != record.parent) return ok();  // a join isn't finished: finish_joins()
    uint64_t size_bytes = layer.info().file_bytes;
    if (layer.info().form == LayerForm::kSparse) {
        identity.diff_id = record.diff_id;
        TRY_ASSIGN(DiskFiles files, open_chain(record.chain_id));
        TRY_ASSIGN(const std::unique_ptr<LayeredDisk> ours, LayeredDisk::open(std::move(files)));
        BlockMap touched(identity.virtual_blocks);
        touch(touched, layer.extents());
        TRY_ASSIGN(size_bytes, write_packed(identity, touched, *ours, part_path(part)));
    } else if (record.form == LayerForm::kPacked) {
        return ok();
    }
    // Or it was packed by somebody who didn't come as far as this.
    TRY_ASSIGN(Statement update,
               db_.prepare("UPDATE layers SET form = 0, size_bytes = ? WHERE chain_id = ?"));
    update.bind(0, static_cast<int64_t>(size_bytes));
    update.bind(1, record.chain_id.hex());
    TRY(update.run());
    return make_index(record.chain_id);
}

Result<ChainId> Store::derive(const ChainId& name,
                              const std::function<Status(BlockBackend&)>& change) {
    TRY_ASSIGN(const Fd lease_fd, lease());
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(name));
    const LayerRecord& record = records.back();
    if (!record.parent) return Error{ErrorCode::kInvalid, "a layer 0 can't be derived from"};
    const Part part{record.chain_id, false};
    TRY_ASSIGN(Fd fd, open_part(part));
    TRY_ASSIGN(const LayerFile layer, LayerFile::open(std::move(fd), part_path(part)));
    LayerIdentity identity = layer.info().identity;
    TRY_ASSIGN(identity.chain_id, made_up_chain_id());
    identity.diff_id = Digest{};

    TRY_ASSIGN(DiskFiles files, open_chain(record.chain_id));
    TRY_ASSIGN(Fd scratch, TmpFile::anonymous(tmp_dir()));
    TRY_ASSIGN(WritableTop top, WritableTop::scratch(std::move(scratch), identity.virtual_blocks));
    TRY_ASSIGN(MergedIndex index, MergedIndex::open(files.index, index_path(record.chain_id)));
    TRY_ASSIGN(const std::unique_ptr<LayeredDisk> ours,
               LayeredDisk::assemble(std::move(index), std::move(files.layers), std::move(top)));
    TRY(change(*ours));
    BlockMap touched(identity.virtual_blocks);
    touch(touched, layer.extents());
    touch(touched, ours->top()->map());
    TRY_ASSIGN(const uint64_t size_bytes,
               write_packed(identity, touched, *ours, layer_path(identity.chain_id)));
    TRY(insert_layer(identity, size_bytes, LayerForm::kPacked, false));
    TRY(make_index(identity.chain_id));
    return identity.chain_id;
}

Status Store::flatten(const ChainId& name) {
    TRY_ASSIGN(const Fd lease_fd, lease());
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    TRY_ASSIGN(const std::vector<LayerFile> layers, open_parts(chain_id));
    if (layers.size() <= kKeptLayers + 1) return ok();
    return write_flat(layers, kKeptLayers);
}

/// Held by whoever makes such a file or puts one in its layer's place; taken after the lease.
Result<Fd> Store::lock_flats() const {
    const std::string path = root_ + "/flat-lock";
    TRY_ASSIGN(Fd lock, open_file(path, O_RDWR | O_CREAT, 0600));
    TRY(lock_file(lock.get(), LOCK_EX, path));
    return lock;
}

/// Of all but the `kept` lowest. One at a time: a chain has one such file, whatever its base.
Status Store::write_flat(std::span<const LayerFile> layers, size_t kept) {
    TRY_ASSIGN(const Fd lock, lock_flats());
    LayerIdentity identity = layers.back().info().identity;
    identity.parent = layers[kept - 1].info().identity.chain_id;
    identity.diff_id = Digest{};
    BlockMap touched(identity.virtual_blocks);
    for (const LayerFile& layer : layers.subspan(kept)) touch(touched, layer.extents());
    TRY_ASSIGN(DiskFiles files, open_chain(identity.chain_id));
    TRY_ASSIGN(const std::unique_ptr<LayeredDisk> ours, LayeredDisk::open(std::move(files)));
    TRY(forget_flat(identity.chain_id));  // one of another base
    TRY(write_packed(identity, touched, *ours, part_path({identity.chain_id, true})));
    TRY_ASSIGN(Statement insert, db_.prepare("INSERT INTO flats VALUES (?, ?) ON CONFLICT "
                                             "(chain_id) DO UPDATE SET base = excluded.base"));
    insert.bind(0, identity.chain_id.hex());
    insert.bind(1, identity.parent->hex());
    TRY(insert.run());
    return make_index(identity.chain_id);
}

Status Store::join(const ChainId& chain_id) {
    {
        TRY_ASSIGN(const Fd lease_fd, lease());
        TRY(finish_joins());
        TRY_ASSIGN(const size_t kept, kept_by_join(chain_id));
        if (kept == 0) return ok();
        TRY_ASSIGN(const std::vector<LayerRecord> records, chain(chain_id));
        std::vector<LayerFile> layers;
        for (const LayerRecord& record : records) {
            const Part part{record.chain_id, false};
            TRY_ASSIGN(Fd fd, open_part(part));
            TRY_ASSIGN(LayerFile layer, LayerFile::open(std::move(fd), part_path(part)));
            layers.push_back(std::move(layer));
        }
        TRY(write_flat(layers, kept));
    }
    return take_joined(chain_id);
}

/// How many layers stay as they are below the one that a chain's others are to become; 0: none are
/// to be joined. What an image has isn't touched.
Result<size_t> Store::kept_by_join(const ChainId& chain_id) {
    TRY_ASSIGN(const std::vector<ChainId> of_images,
               chain_ids("WITH RECURSIVE c(id) AS (SELECT chain_id FROM images UNION "
                         "SELECT l.parent FROM c JOIN layers l ON l.chain_id = c.id "
                         "WHERE l.parent IS NOT NULL) SELECT id FROM c"));
    const std::set<ChainId> images(of_images.begin(), of_images.end());
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(chain_id));
    if (!records.back().diff_id.is_null() || images.contains(chain_id)) return size_t{0};
    size_t kept = records.size() - 1;
    while (kept > 1 && !images.contains(records[kept - 1].chain_id)) --kept;
    return records.size() - kept > 1 ? kept : 0;
}

/// The chain gets its flattened file's parent, and its file. Alone, as a prune is: who seals, packs
/// or makes an image has looked at the chain, and nobody may see the one without the other. If
/// somebody does, it is done another time: until then it is flattened, as others are.
Status Store::take_joined(const ChainId& chain_id) {
    TRY_ASSIGN(const Fd lease_fd, lease_alone());
    if (!lease_fd.valid()) return ok();
    TRY_ASSIGN(const size_t kept, kept_by_join(chain_id));
    if (kept == 0) return ok();
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(chain_id));
    const Part part{chain_id, true};
    TRY_ASSIGN(Fd fd, open_part(part));
    TRY_ASSIGN(const LayerFile flat, LayerFile::open(std::move(fd), part_path(part)));
    if (flat.info().identity.parent != records[kept - 1].chain_id) return ok();
    TRY(db_.durable_transaction([&]() -> Status {
        TRY_ASSIGN(Statement update, db_.prepare("UPDATE layers SET parent = ?, form = 0, "
                                                 "size_bytes = ? WHERE chain_id = ?"));
        update.bind(0, records[kept - 1].chain_id.hex());
        update.bind(1, static_cast<int64_t>(flat.info().file_bytes));
        update.bind(2, chain_id.hex());
        return update.run();
    }));
    return finish_joins();
}

/// A flattened file that has its layer's own parent is to be the layer's file: what a join that was
/// killed has left. With a lease.
Status Store::finish_joins() {
    TRY_ASSIGN(const Fd lock, lock_flats());
    TRY_ASSIGN(const std::vector<ChainId> joined,
               chain_ids("SELECT f.chain_id FROM flats f JOIN layers l "
                         "ON l.chain_id = f.chain_id WHERE f.base = l.parent"));
    for (const ChainId& chain_id : joined) {
        Status renamed = rename_file(part_path({chain_id, true}), layer_path(chain_id));
        if (!renamed && renamed.error().os_errno != ENOENT) return renamed;  // else it was already
        TRY(sync_dir(root_ + "/layers"));
        TRY(forget_flat(chain_id));
        TRY(make_index(chain_id));
    }
    return ok();
}

Status Store::forget_flat(const ChainId& chain_id) {
    TRY_ASSIGN(Statement remove, db_.prepare("DELETE FROM flats WHERE chain_id = ?"));
    remove.bind(0, chain_id.hex());
    return remove.run();
}

Result<std::vector<ChainId>> Store::chain_ids(const std::string& sql) {
    std::vector<ChainId> ids;
    TRY_ASSIGN(Statement query, db_.prepare(sql));
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) return ids;
        TRY_ASSIGN(const ChainId id, Digest::parse(query.text(0)));
        ids.push_back(id);
    }
}

Status Store::maintain(bool wait) {
    const std::string path = root_ + "/maintain";
    TRY_ASSIGN(const Fd fd, open_file(path, O_RDWR | O_CREAT, 0600));
    TRY_ASSIGN(const bool mine, lock_file(fd.get(), wait ? LOCK_EX : LOCK_EX | LOCK_NB, path));
    if (!mine) return ok();
    {
        TRY_ASSIGN(const Fd lease_fd, lease());
        TRY(finish_joins());
    }
    TRY(pack_all());
    TRY(join_all());
    return flatten_all();
}

Status Store::pack_all() {
    std::set<ChainId> tried;
    for (bool more = true; more;) {  // what is sealed meanwhile, too: its own maintain() has left
        TRY_ASSIGN(const std::vector<ChainId> sealed,
                   chain_ids("SELECT chain_id FROM layers WHERE form = 1"));
        more = false;
        for (const ChainId& chain_id : sealed) {
            if (!tried.insert(chain_id).second) continue;
            more = true;
            if (Status packed = pack(chain_id); !packed) {
                log(LogLevel::kWarn, "layer {} isn't packed: {}", chain_id.to_string(),
                    packed.error().message);
            }
        }
    }
    return ok();
}

Status Store::join_all() {
    TRY_ASSIGN(const std::vector<ChainId> heads, chain_ids("SELECT DISTINCT chain_id FROM tops"));
    for (const ChainId& head : heads) {
        TRY_ASSIGN(const std::vector<LayerRecord> records, chain(head));
        if (records.size() <= kMaxOwnLayers) continue;
        TRY_ASSIGN(const size_t kept, kept_by_join(head));
        if (kept == 0 || records.size() - kept <= kMaxOwnLayers) continue;
        if (Status joined = join(head); !joined) {
            log(LogLevel::kWarn, "the layers of chain {} aren't joined: {}", head.to_string(),
                joined.error().message);
        }
    }
    return ok();
}

Status Store::flatten_all() {
    TRY_ASSIGN(const std::vector<ChainId> heads,
               chain_ids("SELECT chain_id FROM images UNION SELECT chain_id FROM tops"));
    for (const ChainId& head : heads) {
        TRY_ASSIGN(const std::vector<LayerRecord> records, chain(head));
        TRY_ASSIGN(const std::vector<Part> files, parts(records));
        if (files.size() <= kMaxOpenLayers) continue;
        if (Status flat = flatten(head); !flat) {
            log(LogLevel::kWarn, "chain {} isn't flattened: {}", head.to_string(),
                flat.error().message);
        }
    }
    return ok();
}

}  // namespace drupe::imagefs
