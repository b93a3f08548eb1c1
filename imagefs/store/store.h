#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/database.h"
#include "imagefs/store/digest.h"
#include "imagefs/store/layer_builder.h"
#include "imagefs/store/layered_disk.h"
#include "imagefs/store/merged_index.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs {

/// An image: its OCI config and the chain that holds its files.
struct Image {
    Digest id;           ///< Digest of the config.
    std::string config;  ///< The config JSON, byte for byte.
    ChainId chain_id;
    Digest manifest;          ///< Digest of its manifest; null if it came without one.
    uint64_t size_bytes = 0;  ///< Sum of its layers' files, layer 0 included.
    int64_t created_s = 0;    ///< When it was put into this store; seconds since 1970.
    int64_t tagged_ns = 0;    ///< When it last got a reference; nanoseconds since 1970, 0: never.
    std::vector<std::string> tags;
};

struct LayerRecord {
    ChainId chain_id;
    std::optional<ChainId> parent;
    Digest diff_id;  ///< Null for a layer 0, and of a sealed top until set_diff_id().
    uint64_t size_bytes = 0;
    LayerForm form = LayerForm::kPacked;
    bool needs_replay = false;  ///< The file system on the chain has a journal to be replayed.
    bool quarantined = false;   ///< Found damaged; its file is in quarantine/.
};

/// A layer that verify_all() found damaged.
struct DamagedLayer {
    ChainId chain_id;
    std::string why;
    std::vector<std::string> images;  ///< That need it: references, or the IDs of those without.
    std::vector<std::string> tops;    ///< Ids.
    bool put_aside = false;           ///< By this run, or one before.
};

struct VerifyReport {
    uint64_t layers = 0;
    uint64_t bytes = 0;     ///< Read and compared.
    uint64_t unpacked = 0;  ///< Sealed tops that have no sums yet: only their indexes were checked.
    std::vector<DamagedLayer> damaged;
};

/// A top that has become a layer.
struct SealedTop {
    ChainId chain_id;  ///< Of the new chain, on which the container goes on. Made up.
    ChainId parent;
    uint64_t stored_bytes = 0;
    bool needs_replay =
        false;        ///< Not fit for an image as it is: replay_journal() makes one that is.
    DiskFiles files;  ///< The new chain under a new, empty top with the old one's id.
};

/// Bytes that everything below the root occupies, as `du` counts them: allocated, not apparent,
/// each file once, folders too. The parts add up to total_bytes.
struct DiskUsage {
    uint64_t layers = 0;
    uint64_t layer_bytes = 0;  ///< Sealed layers, packed, sparse and flattened.
    uint64_t index_bytes = 0;
    uint64_t tops = 0;
    uint64_t top_bytes = 0;
    uint64_t images = 0;
    uint64_t blob_bytes = 0;
    uint64_t quarantine_bytes = 0;
    uint64_t tmp_bytes = 0;
    uint64_t database_bytes = 0;
    uint64_t other_bytes =
        0;  ///< Of others that live under this root: containers/ is the engine's.
    uint64_t total_bytes = 0;
};

struct PruneReport {
    uint64_t layers = 0;
    uint64_t bytes = 0;
};

/// The folder of images: layers/, indexes/, tops/, blobs/, tmp/ and drupe.db below one root.
/// Several processes may use one store at a time; what they hold open is protected by flock
/// (docs/formats/ store.md). An object belongs to one thread.
///
/// A file is published by: write in tmp/, fsync, rename, fsync of the folder; then it is in the
/// database. Garbage is found by mark and sweep from images and tops.
class Store {
  public:
    /// Creates what is missing. The first time, probes that the file system reports holes of 4096
    /// bytes exactly and keeps zero blocks (kUnsupported otherwise). Removes leftovers in tmp/.
    [[nodiscard]] static Result<Store> open(std::string root);

    [[nodiscard]] const std::string& root() const { return root_; }
    /// The store's database, in which other components keep tables of their own.
    [[nodiscard]] Database& database() { return db_; }
    [[nodiscard]] std::string blobs_dir() const { return root_ + "/blobs"; }
    [[nodiscard]] std::string tmp_dir() const { return root_ + "/tmp"; }
    /// Of blobs that are being fetched, or were when their fetcher died. May not exist yet.
    [[nodiscard]] std::string downloads_dir() const { return root_ + "/downloads"; }

    /// While the lease lives, nothing is pruned. An importer holds one from its first has_layer()
    /// until put_image().
    [[nodiscard]] Result<Fd> lease() const;

    // Layers
    [[nodiscard]] Result<bool> has_layer(const ChainId& chain_id);
    /// A layer on `parent` (kNotFound), as large as it.
    [[nodiscard]] Result<LayerBuilder> begin_layer(const ChainId& parent);
    /// A layer 0.
    [[nodiscard]] Result<LayerBuilder> begin_root(uint64_t virtual_blocks);
    /// Seals and publishes; returns the new chain's ID, child_chain_id(parent, diff_id). Nothing
    /// happens if it exists already.
    [[nodiscard]] Result<ChainId> publish_layer(LayerBuilder builder, const Digest& diff_id);
    [[nodiscard]] Status publish_root(LayerBuilder builder, const ChainId& chain_id);
    /// Bottom first.
    [[nodiscard]] Result<std::vector<LayerRecord>> chain(const ChainId& chain_id);
    /// The chain as a read-only disk. Each layer carries a shared lock. No layer's index is read
    /// (unless the merged one has to be made again); the merged one, 1/512 of the image at most, is
    /// checked.
    [[nodiscard]] Result<DiskFiles> open_chain(const ChainId& chain_id);
    /// A layer's own file, for who wants to look into it.
    [[nodiscard]] Result<LayerFile> open_layer_file(const ChainId& chain_id);
    /// Scrubs all layers of a chain and its merged index.
    [[nodiscard]] Status verify(const ChainId& chain_id);
    /// Scrubs all layers. A damaged one's file is moved to quarantine/; publishing the layer again
    /// (another pull or load) heals it with all that needs it. `progress` is called after each
    /// layer.
    [[nodiscard]] Result<VerifyReport> verify_all(
        const std::function<void(uint64_t done_bytes, uint64_t total_bytes)>& progress);

    // Tops. An ID is 1 to 128 of [A-Za-z0-9_.-] and doesn't start with a dot.
    /// Makes a top and opens it (kConflict if the ID exists).
    [[nodiscard]] Result<DiskFiles> create_top(std::string_view id, const ChainId& chain_id);
    /// kConflict: in use by another machine.
    [[nodiscard]] Result<DiskFiles> open_top(std::string_view id);
    /// Has a top begin anew, on another chain: what was written to it is gone. Durable when this
    /// returns; if it fails, open_top() gives the old one. kConflict: in use.
    [[nodiscard]] Result<DiskFiles> reset_top(std::string_view id, const ChainId& chain_id);
    /// No error if there is none. kConflict: in use.
    [[nodiscard]] Status remove_top(std::string_view id);
    /// Bytes allocated for it.
    [[nodiscard]] Result<uint64_t> top_bytes(std::string_view id);

    /// Makes a layer of a top as it lies there, and gives its id a new one: what `commit` is made
    /// of. No data is copied, so the time depends on the number of the top's extents alone (and on
    /// the size of the chain's merged index, which is copied). Nobody may have the top open
    /// (kConflict): a running machine closes its disk first (LayeredDisk::close(), then its
    /// destructor, which lets go of the lock). A top that wasn't closed is recovered first. The
    /// id's chain has moved on durably when this returns; if it fails, open_top() gives the old
    /// top, unchanged. kLimit: images have kMaxChainLayers of it.
    ///
    /// The new layer belongs to the top alone until put_image() or another top names it.
    [[nodiscard]] Result<SealedTop> seal_top(std::string_view id);
    /// Says what the OCI layer of a sealed top is; its parent's must be known (kConflict). From
    /// then on child_chain_id(OCI name of the parent, diff_id) names it, too: in every function
    /// that takes a chain's ID. kConflict: it has another diffID already.
    [[nodiscard]] Status set_diff_id(const ChainId& chain_id, const Digest& diff_id);
    /// The name by which images of other stores know a chain; the chain's own ID if there is none.
    [[nodiscard]] Result<ChainId> oci_chain_id(const ChainId& chain_id);

    /// A sealed top as an ordinary packed layer, with sums and without the blocks that equal its
    /// parent's. The file is replaced at once; who has the old one open goes on with it. No error
    /// if it is packed already. Killed at any moment, it has happened or it hasn't.
    [[nodiscard]] Status pack(const ChainId& chain_id);
    /// A new packed layer on the same parent: the chain's content after `change`, which gets the
    /// disk. How a journal is replayed without changing the layer under the container that goes on
    /// with it. Made up, like a sealed top's; needs no replay. Nothing needs it until put_image():
    /// hold a lease.
    [[nodiscard]] Result<ChainId> derive(const ChainId& chain_id,
                                         const std::function<Status(BlockBackend&)>& change);
    /// Files of a chain that are opened: more than these are bounded by flatten().
    static constexpr size_t kMaxOpenLayers = 32;
    static constexpr size_t kKeptLayers = 16;
    /// seal_top() doesn't leave it to the background any more.
    static constexpr size_t kMostOpenLayers = 100;
    /// Opens of the chain will use its kKeptLayers lowest files and one more, which has all that is
    /// above. No error if it consists of that few already. The layers themselves stay.
    [[nodiscard]] Status flatten(const ChainId& chain_id);
    /// Layers that were sealed one on the other, and that no image has: more than these are made
    /// one by maintain(), so that a container may be sealed as often as it wants.
    static constexpr size_t kMaxOwnLayers = 64;
    /// Makes one layer of all of a chain's that no image has. The chain keeps its ID, its content
    /// and whatever stands on it; those between become garbage, unless they have a top or a chain
    /// of their own on them. Nothing happens to what is open.
    [[nodiscard]] Status join(const ChainId& chain_id);
    /// Packs what is sealed, joins and flattens what is deep: background work, which may be killed
    /// at any moment. If another process is at it: waits for it first, or leaves all to it.
    [[nodiscard]] Status maintain(bool wait);

    // Images
    /// The chain must exist, and not need its journal replayed (kConflict). Putting an
    /// image again changes its manifest and its chain.
    [[nodiscard]] Status put_image(const Image& image);
    /// Points a reference (an opaque name) at an image, whatever it meant before.
    [[nodiscard]] Status tag(std::string_view reference, const Digest& image_id);
    [[nodiscard]] Status untag(std::string_view reference);
    /// By exact reference, by "sha256:ID", or by 4 to 64 first hexadecimal digits of the ID.
    /// kNotFound, or kConflict if several images match.
    [[nodiscard]] Result<Image> resolve(std::string_view name);
    [[nodiscard]] Result<std::vector<Image>> list_images();
    /// Removes the image with its tags, then what no image or top needs any more.
    [[nodiscard]] Result<PruneReport> remove_image(const Digest& image_id);
    /// Removes layers that no image and no top needs. Does nothing while a lease is held.
    [[nodiscard]] Result<PruneReport> prune();
    [[nodiscard]] Result<DiskUsage> disk_usage();

  private:
    Store(std::string root, Database db) : root_(std::move(root)), db_(std::move(db)) {}

    [[nodiscard]] std::string layer_path(const ChainId& chain_id) const;
    [[nodiscard]] std::string index_path(const ChainId& chain_id) const;
    [[nodiscard]] std::string top_dir(std::string_view id) const;
    [[nodiscard]] std::string top_file(std::string_view id, const char* name, int64_t serial) const;
    /// An alias's layer; the ID itself if it is none.
    [[nodiscard]] Result<ChainId> local_id(const ChainId& chain_id);
    [[nodiscard]] Status publish(LayerBuilder& builder, const LayerIdentity& identity);
    [[nodiscard]] Status make_index(const ChainId& chain_id);
    /// A file that is opened for a chain: a layer's, or one that flatten() made of several.
    struct Part {
        ChainId chain_id;  ///< Of the chain up to here.
        bool flat = false;
    };
    [[nodiscard]] Result<std::vector<Part>> parts(const std::vector<LayerRecord>& records);
    [[nodiscard]] std::string part_path(const Part& part) const;
    /// Of the columns chain_id, parent, diff_id, size_bytes, form, needs_replay, quarantined.
    [[nodiscard]] static Result<LayerRecord> record_of(const Statement& row);
    [[nodiscard]] Status check_layer(const LayerRecord& record, VerifyReport& report);
    [[nodiscard]] Result<DamagedLayer> put_aside(const LayerRecord& record, Error why);
    [[nodiscard]] Result<std::vector<LayerRecord>> all_layers();
    /// Exclusive; invalid while anybody has one.
    [[nodiscard]] Result<Fd> lease_alone() const;
    [[nodiscard]] Status pack_all();
    [[nodiscard]] Status make_room(std::string_view id);
    [[nodiscard]] Status join_all();
    [[nodiscard]] Status flatten_all();
    [[nodiscard]] Result<Fd> lock_flats() const;
    [[nodiscard]] Status write_flat(std::span<const LayerFile> layers, size_t kept);
    [[nodiscard]] Result<size_t> kept_by_join(const ChainId& chain_id);
    [[nodiscard]] Status take_joined(const ChainId& chain_id);
    [[nodiscard]] Status finish_joins();
    [[nodiscard]] Status forget_flat(const ChainId& chain_id);
    [[nodiscard]] Result<Fd> open_part(const Part& part) const;
    [[nodiscard]] Result<std::vector<LayerFile>> open_parts(const ChainId& chain_id);
    /// Returns the file's size.
    [[nodiscard]] Result<uint64_t> write_packed(const LayerIdentity& identity,
                                                const BlockMap& touched, LayeredDisk& ours,
                                                const std::string& path);
    [[nodiscard]] Status insert_layer(const LayerIdentity& identity, uint64_t size_bytes,
                                      LayerForm form, bool needs_replay);
    [[nodiscard]] Result<std::vector<ChainId>> chain_ids(const std::string& sql);
    struct IndexFile {
        Fd fd;
        MergedIndex index;
    };
    [[nodiscard]] Result<IndexFile> open_index(const ChainId& chain_id);
    struct TopRow {
        ChainId chain_id;
        int64_t serial = 0;  ///< How often it was sealed or reset; part of its files' names.
    };
    [[nodiscard]] Result<TopRow> top_row(std::string_view id);
    [[nodiscard]] Status move_top(std::string_view id, int64_t serial, const ChainId& chain_id);
    [[nodiscard]] Status open_top_files(std::string_view id, int64_t serial, int flags,
                                        DiskFiles& files) const;
    struct Sealing;  // store_seal.cc
    [[nodiscard]] Status prepare(Sealing& sealing);
    [[nodiscard]] Status sync(const Sealing& sealing) const;
    [[nodiscard]] Status commit(const Sealing& sealing);
    [[nodiscard]] Result<std::vector<LayerRecord>> garbage();
    [[nodiscard]] Status forget_unused_flats();
    [[nodiscard]] Result<uint64_t> sweep_files();

    std::string root_;
    Database db_;
    /// Indexes whose checksums this object has found right.
    std::map<ChainId, FileVersion> checked_indexes_;
};

}  // namespace drupe::imagefs
