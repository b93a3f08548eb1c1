#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"
#include "imagefs/store/sha256.h"
#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {
namespace {

constexpr const char* kFlatSuffix = ".flat";
constexpr int kOpenAttempts = 4;
constexpr size_t kMaxCheckedIndexes = 1024;

Error missing_file(const ChainId& chain_id) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("the store has no file of layer {}: it was damaged and put aside, or "
                             "removed; pull or load its image again",
                             chain_id.to_string())};
}

Error no_layer(const ChainId& chain_id) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("the store has no layer {}", chain_id.to_string())};
}

/// Whether an index was made from these files. One that can't be read is for who opens the disk to
/// complain of.
bool is_index_of(const MergedIndex& index, const std::vector<Fd>& layers) {
    if (index.layer_count() != layers.size()) return false;
    for (uint32_t i = 0; i < layers.size(); ++i) {
        const Result<LayerInfo> info = read_layer_header(layers[i].get(), "of the chain");
        if (info && info.value().uuid != index.layer(i).uuid) return false;
    }
    return true;
}

}  // namespace

Result<LayerRecord> Store::record_of(const Statement& row) {
    LayerRecord record;
    TRY_ASSIGN(record.chain_id, Digest::parse(row.text(0)));
    if (!row.is_null(1)) {
        TRY_ASSIGN(const Digest parent, Digest::parse(row.text(1)));
        record.parent = parent;
    }
    TRY_ASSIGN(record.diff_id, Digest::parse(row.text(2)));
    record.size_bytes = static_cast<uint64_t>(row.integer(3));
    record.form = row.integer(4) == 0 ? LayerForm::kPacked : LayerForm::kSparse;
    record.needs_replay = row.integer(5) != 0;
    record.quarantined = row.integer(6) != 0;
    return record;
}

Result<bool> Store::has_layer(const ChainId& name) {
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    TRY_ASSIGN(Statement query,
               db_.prepare("SELECT 1 FROM layers WHERE chain_id = ? AND quarantined = 0"));
    query.bind(0, chain_id.hex());
    return query.step();
}

Result<std::vector<LayerRecord>> Store::chain(const ChainId& name) {
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    TRY_ASSIGN(Statement query, db_.prepare("WITH RECURSIVE c(chain_id, depth) AS ("
                                            "  SELECT ?1, 0 UNION ALL"
                                            "  SELECT l.parent, depth + 1 FROM c JOIN layers l "
                                            "  ON l.chain_id = c.chain_id "
                                            "  WHERE l.parent IS NOT NULL AND depth < ?2)"
                                            "SELECT l.chain_id, l.parent, l.diff_id, l.size_bytes, "
                                            "l.form, l.needs_replay, l.quarantined "
                                            "FROM c JOIN layers l ON l.chain_id = c.chain_id "
                                            "ORDER BY depth DESC"));
    query.bind(0, chain_id.hex());
    query.bind(1, int64_t{kMaxChainLayers});
    std::vector<LayerRecord> records;
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) break;
        TRY_ASSIGN(LayerRecord record, record_of(query));
        records.push_back(record);
    }
    if (records.empty()) return no_layer(chain_id);
    if (records.front().parent || records.size() > kMaxChainLayers) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("the chain of layer {} has no bottom", chain_id.to_string())};
    }
    return records;
}

Result<LayerBuilder> Store::begin_layer(const ChainId& name) {
    TRY_ASSIGN(const ChainId parent, local_id(name));
    TRY_ASSIGN(DiskFiles files, open_chain(parent));
    if (files.layers.size() >= kMaxChainLayers) {
        return Error{ErrorCode::kLimit,
                     fmt::format("an image of more than {} layers", kMaxChainLayers - 1)};
    }
    const uint64_t blocks = files.virtual_bytes / BlockBackend::kBlockSize;
    TRY_ASSIGN(Fd scratch, TmpFile::anonymous(tmp_dir()));
    return LayerBuilder::create(parent, std::move(files), blocks, std::move(scratch));
}

Result<LayerBuilder> Store::begin_root(uint64_t virtual_blocks) {
    TRY_ASSIGN(Fd scratch, TmpFile::anonymous(tmp_dir()));
    return LayerBuilder::create(std::nullopt, DiskFiles{}, virtual_blocks, std::move(scratch));
}

Result<ChainId> Store::publish_layer(LayerBuilder builder, const Digest& diff_id) {
    if (!builder.parent()) return Error{ErrorCode::kInternal, "a layer without a parent"};
    TRY_ASSIGN(const ChainId parent, oci_chain_id(*builder.parent()));
    const ChainId chain_id = child_chain_id(parent, diff_id);
    TRY(publish(builder, {chain_id, builder.parent(), diff_id, builder.virtual_blocks()}));
    return chain_id;
}

Status Store::publish_root(LayerBuilder builder, const ChainId& chain_id) {
    return publish(builder, {chain_id, std::nullopt, Digest{}, builder.virtual_blocks()});
}

Status Store::publish(LayerBuilder& builder, const LayerIdentity& identity) {
    TRY_ASSIGN(const bool known, has_layer(identity.chain_id));
    if (known) return ok();
    uint64_t size_bytes = 0;
    {
        TRY_ASSIGN(TmpFile file, TmpFile::create(tmp_dir()));
        TRY_ASSIGN(Fd out, file.duplicate());
        TRY_ASSIGN(const LayerWriter::Finished finished, builder.seal(std::move(out), identity));
        size_bytes = finished.info.file_bytes;
        TRY(file.publish(layer_path(identity.chain_id)));
    }
    // Somebody else may have published it meanwhile; the files are equal.
    TRY(insert_layer(identity, size_bytes, LayerForm::kPacked, false));
    TRY(remove_if_there(root_ + "/quarantine/" + identity.chain_id.hex()));
    return make_index(identity.chain_id);
}

Status Store::insert_layer(const LayerIdentity& identity, uint64_t size_bytes, LayerForm form,
                           bool needs_replay) {
    TRY_ASSIGN(Statement insert,
               db_.prepare("INSERT INTO layers (chain_id, parent, diff_id, size_bytes, form, "
                           "needs_replay) VALUES (?, ?, ?, ?, ?, ?) "
                           "ON CONFLICT (chain_id) DO UPDATE SET quarantined = 0"));
    insert.bind(0, identity.chain_id.hex());
    if (identity.parent) {
        insert.bind(1, identity.parent->hex());
    } else {
        insert.bind_null(1);
    }
    insert.bind(2, identity.diff_id.hex());
    insert.bind(3, static_cast<int64_t>(size_bytes));
    insert.bind(4, static_cast<int64_t>(form));
    insert.bind(5, int64_t{needs_replay});
    return insert.run();
}

std::string Store::part_path(const Part& part) const {
    return layer_path(part.chain_id) + (part.flat ? kFlatSuffix : "");
}

Result<std::vector<Store::Part>> Store::parts(const std::vector<LayerRecord>& records) {
    std::map<ChainId, ChainId> bases;
    TRY_ASSIGN(Statement query, db_.prepare("SELECT chain_id, base FROM flats"));
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) break;
        TRY_ASSIGN(const ChainId chain_id, Digest::parse(query.text(0)));
        TRY_ASSIGN(const ChainId base, Digest::parse(query.text(1)));
        bases.emplace(chain_id, base);
    }
    std::vector<Part> parts;
    for (size_t i = records.size(); i-- > 0;) {
        const auto flat = bases.find(records[i].chain_id);
        size_t next = i;
        while (flat != bases.end() && next > 0 && records[next - 1].chain_id != flat->second) {
            --next;
        }
        const bool is_flat = flat != bases.end() && next > 0;
        parts.push_back({records[i].chain_id, is_flat});
        if (is_flat) i = next;  // its base is the next one
    }
    std::reverse(parts.begin(), parts.end());
    return parts;
}

Result<Fd> Store::open_part(const Part& part) const {
    const std::string path = part_path(part);
    Result<Fd> fd = open_file(path, O_RDONLY);
    if (!fd && fd.error().code == ErrorCode::kNotFound) return missing_file(part.chain_id);
    if (!fd) return fd;
    TRY(lock_file(fd.value().get(), LOCK_SH, path));
    TRY_ASSIGN(const bool pruned, has_no_name(fd.value().get(), path));
    if (pruned) return no_layer(part.chain_id);
    return fd;
}

Result<LayerFile> Store::open_layer_file(const ChainId& name) {
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    const Part part{chain_id, false};
    TRY_ASSIGN(Fd fd, open_part(part));
    return LayerFile::open(std::move(fd), part_path(part));
}

Result<std::vector<LayerFile>> Store::open_parts(const ChainId& chain_id) {
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(chain_id));
    TRY_ASSIGN(const std::vector<Part> parts_of_chain, parts(records));
    std::vector<LayerFile> layers;
    for (const Part& part : parts_of_chain) {
        TRY_ASSIGN(Fd fd, open_part(part));
        TRY_ASSIGN(LayerFile layer, LayerFile::open(std::move(fd), part_path(part)));
        if (layer.info().identity.chain_id != part.chain_id) {
            return Error{ErrorCode::kCorrupt,
                         fmt::format("layer file {} is another layer", layer.name())};
        }
        layers.push_back(std::move(layer));
    }
    return layers;
}

Status Store::make_index(const ChainId& chain_id) {
    TRY_ASSIGN(const std::vector<LayerFile> layers, open_parts(chain_id));
    TRY_ASSIGN(TmpFile file, TmpFile::create(tmp_dir()));
    TRY(write_merged_index(file.fd(), layers));
    return file.publish_unsynced(index_path(chain_id));
}

Result<Store::IndexFile> Store::open_index(const ChainId& chain_id) {
    const std::string path = index_path(chain_id);
    TRY_ASSIGN(Fd fd, open_file(path, O_RDONLY));
    TRY_ASSIGN(const FileVersion version, version_of_file(fd.get(), path));
    TRY_ASSIGN(MergedIndex index, MergedIndex::open(fd, path));
    if (index.chain_id() != chain_id) {
        return Error{ErrorCode::kCorrupt, fmt::format("{} is another chain's index", path)};
    }
    // The file may have been written long ago, and lost its end to a power cut: that doesn't happen
    // to it while we run.
    const auto checked = checked_indexes_.find(chain_id);
    if (checked == checked_indexes_.end() || checked->second != version) {
        TRY(index.verify());
        if (checked_indexes_.size() >= kMaxCheckedIndexes) checked_indexes_.clear();
        checked_indexes_[chain_id] = version;
    }
    return IndexFile{std::move(fd), std::move(index)};
}

Result<DiskFiles> Store::open_chain(const ChainId& name) {
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    for (int attempt = 0; attempt < kOpenAttempts; ++attempt) {
        TRY_ASSIGN(const std::vector<LayerRecord> records, chain(chain_id));
        TRY_ASSIGN(const std::vector<Part> parts_of_chain, parts(records));
        DiskFiles files;
        for (const Part& part : parts_of_chain) {
            Result<Fd> fd = open_part(part);
            if (!fd && part.flat && fd.error().code == ErrorCode::kNotFound) {
                TRY(forget_flat(part.chain_id));
                break;
            }
            if (!fd && fd.error().code == ErrorCode::kNotFound) {
                TRY_ASSIGN(const std::vector<LayerRecord> now, chain(chain_id));
                if (now.size() != records.size()) break;  // its layers were joined
            }
            TRY_ASSIGN(Fd opened, std::move(fd));
            files.layers.push_back(std::move(opened));
        }
        if (files.layers.size() < parts_of_chain.size()) continue;
        Result<IndexFile> index = open_index(chain_id);
        if (index) {
            const MergedIndex& opened = index.value().index;
            if (is_index_of(opened, files.layers)) {
                files.virtual_bytes = opened.virtual_blocks() * BlockBackend::kBlockSize;
                files.index = std::move(index.value().fd);
                return files;
            }
        } else if (index.error().code != ErrorCode::kNotFound) {
            log(LogLevel::kWarn, "{}; making it again", index.error().message);
        }
        // It only repeats what the layers say; a layer that was packed or flattened says it anew.
        TRY(make_index(chain_id));
    }
    return Error{ErrorCode::kConflict,
                 fmt::format("the layers of chain {} keep changing", chain_id.to_string())};
}

}  // namespace drupe::imagefs
