#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "imagefs/store/store.h"

namespace drupe::imagefs {
namespace {

constexpr size_t kMinPrefix = 4;
constexpr size_t kMaxReference = 512;

constexpr std::string_view kColumns =
    "SELECT i.id, i.config, i.chain_id, i.manifest, i.size_bytes, i.created_s, i.tagged_ns "
    "FROM images i ";

Result<Image> image_of(const Statement& row) {
    Image image;
    TRY_ASSIGN(image.id, Digest::parse(row.text(0)));
    image.config = row.text(1);
    TRY_ASSIGN(image.chain_id, Digest::parse(row.text(2)));
    TRY_ASSIGN(image.manifest, Digest::parse(row.text(3)));
    image.size_bytes = static_cast<uint64_t>(row.integer(4));
    image.created_s = row.integer(5);
    image.tagged_ns = row.integer(6);
    return image;
}

Status add_tags(Database& db, Image& image) {
    TRY_ASSIGN(Statement query,
               db.prepare("SELECT reference FROM tags WHERE image_id = ? ORDER BY reference"));
    query.bind(0, image.id.hex());
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) return ok();
        image.tags.push_back(query.text(0));
    }
}

Result<std::vector<Image>> images_of(Database& db, Statement& query) {
    std::vector<Image> images;
    for (;;) {
        TRY_ASSIGN(const bool row, query.step());
        if (!row) break;
        TRY_ASSIGN(Image image, image_of(query));
        TRY(add_tags(db, image));
        images.push_back(std::move(image));
    }
    return images;
}

/// The hexadecimal digits that an image's ID begins with, if `name` can be such.
std::string_view id_prefix(std::string_view name) {
    constexpr std::string_view kSha256 = "sha256:";
    if (name.starts_with(kSha256)) name.remove_prefix(kSha256.size());
    const bool hex = name.size() >= kMinPrefix && name.size() <= 64 &&
                     name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
    return hex ? name : std::string_view();
}

template <typename Unit>
int64_t now() {
    return std::chrono::duration_cast<Unit>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

}  // namespace

Status Store::put_image(const Image& image) {
    TRY_ASSIGN(const std::vector<LayerRecord> layers, chain(image.chain_id));
    uint64_t size = 0;
    for (const LayerRecord& layer : layers) size += layer.size_bytes;
    if (layers.back().needs_replay) {
        return Error{
            ErrorCode::kConflict,
            fmt::format("the file system of chain {} has a journal to replay before it can "
                        "be an image",
                        image.chain_id.to_string())};
    }
    // Whoever pulled it is told that it is there.
    return db_.durable_transaction([&]() -> Status {
        // One that comes without a manifest doesn't take away what is known.
        TRY_ASSIGN(Statement insert,
                   db_.prepare(
                       "INSERT INTO images (id, config, chain_id, manifest, size_bytes, created_s) "
                       "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) "
                       "DO UPDATE SET manifest = iif(excluded.manifest = ?7, manifest, "
                       "excluded.manifest), "
                       "chain_id = excluded.chain_id, size_bytes = excluded.size_bytes"));
        insert.bind(0, image.id.hex());
        insert.bind(1, image.config);
        insert.bind(2, layers.back().chain_id.hex());
        insert.bind(3, image.manifest.hex());
        insert.bind(4, static_cast<int64_t>(size));
        insert.bind(5, image.created_s != 0 ? image.created_s : now<std::chrono::seconds>());
        insert.bind(6, Digest{}.hex());
        return insert.run();
    });
}

Status Store::tag(std::string_view reference, const Digest& image_id) {
    if (reference.empty() || reference.size() > kMaxReference) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("a reference has 1 to {} characters", kMaxReference)};
    }
    Status done = db_.durable_transaction([&]() -> Status {
        TRY_ASSIGN(Statement insert, db_.prepare("INSERT INTO tags VALUES (?, ?) ON CONFLICT "
                                                 "(reference) DO UPDATE SET image_id = "
                                                 "excluded.image_id"));
        insert.bind(0, reference);
        insert.bind(1, image_id.hex());
        TRY(insert.run());
        TRY_ASSIGN(Statement note, db_.prepare("UPDATE images SET tagged_ns = ? WHERE id = ?"));
        note.bind(0, now<std::chrono::nanoseconds>());
        note.bind(1, image_id.hex());
        return note.run();
    });
    if (!done && done.error().code == ErrorCode::kConflict) {
        return Error{ErrorCode::kNotFound,
                     fmt::format("the store has no image {}", image_id.to_string())};
    }
    return done;
}

Status Store::untag(std::string_view reference) {
    TRY_ASSIGN(Statement remove, db_.prepare("DELETE FROM tags WHERE reference = ? RETURNING 1"));
    remove.bind(0, reference);
    TRY_ASSIGN(const bool removed, remove.step());
    if (!removed) {
        return Error{ErrorCode::kNotFound, fmt::format("the store has no image {}", reference)};
    }
    TRY(remove.step());  // to its end: commits
    return ok();
}

Result<Image> Store::resolve(std::string_view name) {
    TRY_ASSIGN(Statement by_tag,
               db_.prepare(std::string(kColumns) + "JOIN tags t ON t.image_id = i.id "
                                                   "WHERE t.reference = ?"));
    by_tag.bind(0, name);
    TRY_ASSIGN(std::vector<Image> found, images_of(db_, by_tag));
    const std::string_view prefix = id_prefix(name);
    if (found.empty() && !prefix.empty()) {
        TRY_ASSIGN(Statement by_id,
                   db_.prepare(std::string(kColumns) + "WHERE i.id >= ?1 AND i.id < ?1 || 'g' "
                                                       "LIMIT 2"));
        by_id.bind(0, prefix);
        TRY_ASSIGN(found, images_of(db_, by_id));
    }
    if (found.empty()) {
        return Error{ErrorCode::kNotFound,
                     fmt::format("the store has no image {}", name.substr(0, kMaxReference))};
    }
    if (found.size() > 1) {
        return Error{ErrorCode::kConflict, fmt::format("several images' IDs begin with {}", name)};
    }
    return std::move(found[0]);
}

Result<std::vector<Image>> Store::list_images() {
    TRY_ASSIGN(Statement query,
               db_.prepare(std::string(kColumns) + "ORDER BY i.created_s DESC, i.id"));
    return images_of(db_, query);
}

Result<PruneReport> Store::remove_image(const Digest& image_id) {
    TRY_ASSIGN(Statement remove, db_.prepare("DELETE FROM images WHERE id = ? RETURNING 1"));
    remove.bind(0, image_id.hex());
    TRY_ASSIGN(const bool removed, remove.step());
    if (!removed) {
        return Error{ErrorCode::kNotFound,
                     fmt::format("the store has no image {}", image_id.to_string())};
    }
    TRY(remove.step());  // to its end: commits
    return prune();
}

}  // namespace drupe::imagefs
