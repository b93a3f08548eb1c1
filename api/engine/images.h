#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/commit_config.h"
#include "api/engine/disk_reader.h"
#include "api/engine/image_source.h"
#include "api/engine/importer.h"
#include "api/engine/paths.h"
#include "imagefs/export/archive.h"
#include "imagefs/store/store.h"

namespace drupe::engine {

/// An image as a list shows it.
struct ImageSummary {
    std::string id;                       ///< "sha256:..."
    std::vector<std::string> references;  ///< As people write them: "busybox:latest".
    uint64_t size_bytes = 0;
    int64_t created_s = 0;  ///< When it was built, as it says; else when it came into the store.
    std::string digest{};   ///< "sha256:...", of its manifest; empty if it came without one.
    std::map<std::string, std::string> labels{};
};

/// One step of how an image was made.
struct HistoryEntry {
    std::string id;         ///< Of the image, for the last step of all; else "<missing>".
    int64_t created_s = 0;  ///< 0: not known.
    std::string created_by;
    std::string comment;
    uint64_t size_bytes = 0;  ///< What its layer takes in the store.
    std::vector<std::string> tags{};
};

/// A container made from an image, for who removes that.
struct ImageUser {
    std::string container_id;
    bool running = false;
};

/// Made from the busybox beside Drupe when it is asked for, so that an empty store has an image.
inline constexpr std::string_view kBuiltinImage = "docker.io/library/busybox:latest";

/// What removing a reference did, in Docker's words: "Untagged: x:1", "Deleted: sha256:..." (the
/// image, then each layer that nothing else needs).
using RemoveReport = std::vector<std::string>;

struct PullReport {
    std::string reference;  ///< Canonical.
    std::string digest;     ///< "sha256:...", what the name means in the registry.
    bool is_newer = false;  ///< It meant another image here before, or none.
};
/// Of a pull or push that somebody else asks for.
struct TransferOptions {
    std::optional<RegistryLogin> login;  ///< Unset: this host's user's.
    std::function<bool()> cancelled;     ///< See ImporterTask.
};
struct PushReport {
    std::string digest;
    uint64_t size_bytes = 0;  ///< Of the manifest.
};

/// The images of a store, by the names people use. One thread.
class Images final : public ImageSource {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Images>> open(const Paths& paths);

    // ImageSource
    /// Imports the built-in busybox when it is named and isn't there.
    [[nodiscard]] Result<ImageRef> resolve(std::string_view name) override;
    [[nodiscard]] Result<imagefs::DiskFiles> create_top(const std::string& id,
                                                        const ImageRef& image) override;
    [[nodiscard]] Result<imagefs::DiskFiles> open_top(const std::string& id) override;
    [[nodiscard]] Result<bool> is_unwritten(const imagefs::DiskFiles& disk) override;
    [[nodiscard]] Result<imagefs::DiskFiles> reset_top(const std::string& id,
                                                       const ImageRef& image) override;
    [[nodiscard]] Result<imagefs::DiskFiles> open_read_only(const ImageRef& image) override;
    [[nodiscard]] Status remove_top(const std::string& id) override;
    [[nodiscard]] Status check_name(std::string_view reference) override;
    [[nodiscard]] Result<SealedDisk> seal_top(const std::string& id) override;
    [[nodiscard]] Result<std::string> image_config(const std::string& id) override;
    [[nodiscard]] Result<std::string> put_image(
        const SealedDisk& disk, const std::string& reference,
        const std::function<Result<std::string>(std::string_view diff_id)>& make_config) override;
    [[nodiscard]] imagefs::Database& database() override { return store_.database(); }

    /// For what is done to the store as a whole.
    [[nodiscard]] imagefs::Store& store() { return store_; }

    /// The newest first.
    [[nodiscard]] Result<std::vector<ImageSummary>> list();
    /// GET /images/NAME/json of Docker's API.
    [[nodiscard]] Result<std::string> inspect(std::string_view name);
    [[nodiscard]] Result<std::string> id_of(std::string_view name);
    [[nodiscard]] Result<uint64_t> size_of(std::string_view name);

    /// All images of an OCI layout (folder or tar) or a `docker save` archive; returns what was
    /// loaded, references or ids. tag: for a single image, another name for it.
    [[nodiscard]] Result<std::vector<std::string>> load(const std::string& path,
                                                        const std::string& tag, const Say& say);
    /// A root file system, as a tar or a folder, as an image of one layer; returns its id.
    [[nodiscard]] Result<std::string> import(const std::string& path, const std::string& reference,
                                             const Say& say, const CommitWords& words = {});

    // Registries; names as people write them, with a tag or a digest or neither.
    /// Whether there is such an image here (the built-in one counts, and is made).
    [[nodiscard]] Result<bool> has(std::string_view name);
    [[nodiscard]] Result<PullReport> pull(const std::string& name, const Watch& watch,
                                          const TransferOptions& options = {});
    /// kNotFound: no such image here.
    [[nodiscard]] Result<PushReport> push(const std::string& name, const Watch& watch,
                                          const TransferOptions& options = {});
    /// Checks a user's password with a registry (empty: Docker Hub).
    [[nodiscard]] Status check_login(const std::string& registry, const std::string& user,
                                     const std::string& password);

    [[nodiscard]] Status tag(std::string_view source, std::string_view target);
    /// By Docker's rules. A reference goes, and its image with the last one; an id goes with its
    /// one reference, with several only by force. An image that a stopped container was made of
    /// takes force, one of a running container stays (kConflict, in Docker's words).
    [[nodiscard]] Result<RemoveReport> remove(
        std::string_view name, bool force,
        const std::function<Result<std::vector<ImageUser>>(const std::string& id)>& users_of);

    /// The newest step first.
    [[nodiscard]] Result<std::vector<HistoryEntry>> history(std::string_view name);
    /// Writes images as one archive (imagefs/export/archive.h). A repository without a tag is all
    /// of its tags.
    [[nodiscard]] Status save(const std::vector<std::string>& names, imagefs::ArchiveFormat format,
                              const imagefs::TarSink& sink);

    /// How a container's files differ from its image's: 'A', 'C' or 'D' and a path. at: what
    /// Engine::seal() made of a running one (without, kConflict); else null.
    [[nodiscard]] Status diff(const Container& container, const SealedDisk* at,
                              const std::function<Status(char, std::string_view)>& visit);
    /// All its files, as a tar.
    [[nodiscard]] Result<std::unique_ptr<imagefs::ByteSource>> export_files(
        const Container& container, const SealedDisk* at);

  private:
    Images(Paths paths, imagefs::Store store)
        : paths_(std::move(paths)), store_(std::move(store)), reader_(paths_.exporter) {}
    [[nodiscard]] Result<imagefs::Image> find(std::string_view name);
    /// "NAME", which is all of a repository, as what it names; other names as they are.
    [[nodiscard]] Result<std::vector<std::string>> expand(const std::string& name);
    [[nodiscard]] imagefs::OpenLayerTar tar_opener();
    [[nodiscard]] Result<imagefs::DiskFiles> open_files(const Container& container,
                                                        const SealedDisk* at);
    [[nodiscard]] Status import_busybox();
    /// Puts an image of other words in an imported one's place.
    [[nodiscard]] Result<std::string> reword(const imagefs::Image& image,
                                             const std::string& reference,
                                             const CommitWords& words);
    [[nodiscard]] Result<std::string> replayed(const std::string& chain);

    Paths paths_;
    imagefs::Store store_;
    DiskReader reader_;
};

}  // namespace drupe::engine
