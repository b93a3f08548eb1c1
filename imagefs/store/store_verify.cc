#include <fmt/core.h>

#include <utility>

#include "base/log.h"
#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {

Status Store::verify(const ChainId& name) {
    TRY_ASSIGN(const Fd lease_fd, lease());
    TRY(finish_joins());
    TRY_ASSIGN(const ChainId chain_id, local_id(name));
    TRY_ASSIGN(const std::vector<LayerRecord> records, chain(chain_id));
    VerifyReport report;
    for (const LayerRecord& record : records) {
        TRY(check_layer(record, report));
    }
    checked_indexes_.erase(chain_id);
    TRY(open_index(chain_id));
    return ok();
}

Status Store::check_layer(const LayerRecord& record, VerifyReport& report) {
    const Part part{record.chain_id, false};
    TRY_ASSIGN(Fd fd, open_part(part));
    TRY_ASSIGN(const LayerFile layer, LayerFile::open(std::move(fd), part_path(part)));
    const LayerInfo& info = layer.info();
    if (info.identity.chain_id != record.chain_id || info.identity.parent != record.parent) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("layer file {} is another layer", layer.name())};
    }
    TRY(layer.verify());
    ++report.layers;
    if (info.form == LayerForm::kSparse) ++report.unpacked;
    if (info.form == LayerForm::kPacked) report.bytes += info.file_bytes;
    return ok();
}

Result<std::vector<LayerRecord>> Store::all_layers() {
    std::vector<LayerRecord> records;
    TRY_ASSIGN(Statement query, db_.prepare("SELECT chain_id, parent, diff_id, size_bytes, form, "
                                            "needs_replay, quarantined FROM layers"));
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) return records;
        TRY_ASSIGN(LayerRecord record, record_of(query));
        records.push_back(record);
    }
}

Result<DamagedLayer> Store::put_aside(const LayerRecord& record, Error why) {
    DamagedLayer damaged;
    damaged.chain_id = record.chain_id;
    damaged.why = std::move(why.message);
    // A file that can't be read now may be readable tomorrow; one that isn't what it was won't be.
    const std::string path = layer_path(record.chain_id);
    if (why.code == ErrorCode::kCorrupt) {
        TRY(rename_file(path, root_ + "/quarantine/" + record.chain_id.hex()));
        TRY(sync_dir(root_ + "/quarantine"));
        TRY(sync_dir(root_ + "/layers"));
    }
    damaged.put_aside = why.code == ErrorCode::kCorrupt || record.quarantined;
    TRY(db_.transaction([&]() -> Status {
        if (!damaged.put_aside) return ok();
        // Another copy of a sealed top has its blocks in other places, so it can't take its place
        // below what was written since: without the alias, a pull brings a chain of its own.
        for (const char* sql : {"UPDATE layers SET quarantined = 1 WHERE chain_id = ?",
                                "DELETE FROM aliases WHERE chain_id = ?"}) {
            TRY_ASSIGN(Statement statement, db_.prepare(sql));
            statement.bind(0, record.chain_id.hex());
            TRY(statement.run());
        }
        return ok();
    }));
    const auto collect = [&](const char* what, std::vector<std::string>& into) -> Status {
        TRY_ASSIGN(Statement query,
                   db_.prepare(std::string("WITH RECURSIVE above(id) AS (SELECT ?1 UNION "
                                           "SELECT l.chain_id FROM layers l JOIN above a ON "
                                           "l.parent = a.id) ") +
                               what));
        query.bind(0, record.chain_id.hex());
        for (;;) {
            TRY_ASSIGN(const bool row, query.step());
            if (!row) return ok();
            into.push_back(query.text(0));
        }
    };
    TRY(
        collect("SELECT coalesce(t.reference, 'sha256:' || i.id) FROM images i JOIN above a "
                "ON i.chain_id = a.id LEFT JOIN tags t ON t.image_id = i.id ORDER BY 1",
                damaged.images));
    TRY(collect("SELECT t.id FROM tops t JOIN above a ON t.chain_id = a.id ORDER BY 1",
                damaged.tops));
    return damaged;
}

Result<VerifyReport> Store::verify_all(
    const std::function<void(uint64_t done_bytes, uint64_t total_bytes)>& progress) {
    TRY_ASSIGN(const Fd lease_fd, lease());
    TRY(finish_joins());
    TRY_ASSIGN(const std::vector<LayerRecord> records, all_layers());
    uint64_t total = 0;
    uint64_t done = 0;
    for (const LayerRecord& record : records) total += record.size_bytes;
    VerifyReport report;
    for (const LayerRecord& record : records) {
        if (Status good = check_layer(record, report); !good) {
            TRY_ASSIGN(DamagedLayer damaged, put_aside(record, std::move(good).error()));
            report.damaged.push_back(std::move(damaged));
        }
        const Part flat{record.chain_id, true};
        if (Result<Fd> fd = open_part(flat); fd) {
            const auto layer = LayerFile::open(std::move(fd).value(), part_path(flat));
            if (!layer || !layer.value().verify()) {
                // It only repeats what the layers say.
                log(LogLevel::kWarn, "{} is damaged; removing it", part_path(flat));
                TRY(forget_flat(record.chain_id));
                TRY(remove_if_there(part_path(flat)));
            }
        }
        done += record.size_bytes;
        progress(done, total);
    }
    return report;
}

}  // namespace drupe::imagefs
