#include "api/engine/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/engine/clock.h"
#include "api/engine/inspect.h"
#include "api/engine/time_text.h"
#include "imagefs/oci/image_config.h"
#include "imagefs/oci/reference.h"
#include "imagefs/store/sha256.h"
#include "imagefs/store/writable_top.h"

namespace drupe::engine {
namespace {

using imagefs::Digest;
using imagefs::oci::Reference;

constexpr size_t kLeastIdDigits = 4;

bool is_id(std::string_view name) {
    if (name.starts_with("sha256:")) name.remove_prefix(7);
    return name.size() >= kLeastIdDigits && name.size() <= 64 &&
           name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string familiar(const std::string& canonical) {
    const auto reference = Reference::parse(canonical);
    return reference ? reference.value().familiar() : canonical;
}

/// What a list shows of a config. One that can't be read says nothing.
void describe_by_config(const std::string& config, ImageSummary& summary) {
    const auto json = nlohmann::json::parse(config, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) return;
    const auto created = json.find("created");
    if (created != json.end() && created->is_string()) {
        const auto time = parse_time_text(created->get_ref<const std::string&>());
        constexpr uint64_t kNano = 1'000'000'000;
        if (time) summary.created_s = static_cast<int64_t>(*time / kNano);
    }
    if (const auto parsed = imagefs::oci::ImageConfig::parse(config)) {
        summary.labels.insert(parsed.value().labels.begin(), parsed.value().labels.end());
    }
}

/// What an image says of its health, if it can be asked so.
std::optional<HealthCheck> to_engine(const imagefs::oci::Healthcheck& check) {
    if (check.test.empty()) return std::nullopt;
    const std::string& kind = check.test.front();
    const bool asks = (kind == "CMD" || kind == "CMD-SHELL") && check.test.size() > 1;
    if (!asks) return std::nullopt;
    HealthCheck out;
    out.test = check.test;
    out.interval_ns = check.interval_ns;
    out.timeout_ns = check.timeout_ns;
    out.start_period_ns = check.start_period_ns;
    out.retries = static_cast<uint32_t>(std::min<uint64_t>(check.retries, INT32_MAX));
    return out;
}

ImageConfig to_engine(imagefs::oci::ImageConfig config) {
    ImageConfig out;
    out.entrypoint = std::move(config.entrypoint);
    out.cmd = std::move(config.cmd);
    out.env = std::move(config.env);
    out.working_dir = std::move(config.working_dir);
    out.user = std::move(config.user);
    out.stop_signal = std::move(config.stop_signal);
    out.labels.insert(config.labels.begin(), config.labels.end());
    out.exposed_ports = std::move(config.exposed_ports);
    out.volumes = std::move(config.volumes);
    out.shell = std::move(config.shell);
    if (config.healthcheck) out.health = to_engine(*config.healthcheck);
    return out;
}

}  // namespace

Result<std::unique_ptr<Images>> Images::open(const Paths& paths) {
    TRY(make_folders(paths.root, 0711));
    TRY(make_folders(paths.run, 0711));
    TRY_ASSIGN(auto store, imagefs::Store::open(paths.root));
    return std::unique_ptr<Images>(new Images(paths, std::move(store)));
}

Result<imagefs::Image> Images::find(std::string_view name) {
    // A name like "cafe" may be both; the reference wins, as Docker has it.
    const auto reference = Reference::parse(name);
    if (reference) {
        const std::string canonical = reference.value().canonical();
        auto image = store_.resolve(canonical);
        if (image || image.error().code != ErrorCode::kNotFound) return image;
        if (canonical == kBuiltinImage && !paths_.busybox.empty()) {
            TRY(import_busybox());
            return store_.resolve(canonical);
        }
    }
    if (is_id(name)) {
        auto image = store_.resolve(name);
        if (image || image.error().code != ErrorCode::kNotFound) return image;
    }
    return Error{ErrorCode::kNotFound,
                 fmt::format("No such image: {}", reference ? reference.value().familiar()
                                                            : std::string(name.substr(0, 256)))};
}

Result<ImageRef> Images::resolve(std::string_view name) {
    TRY_ASSIGN(auto image, find(name));
    TRY_ASSIGN(auto config, imagefs::oci::ImageConfig::parse(std::move(image.config)));
    return ImageRef{image.id.to_string(), image.chain_id.hex(), to_engine(std::move(config))};
}

Result<imagefs::DiskFiles> Images::create_top(const std::string& id, const ImageRef& image) {
    TRY_ASSIGN(const Digest chain, Digest::parse(image.chain));
    return store_.create_top(id, chain);
}
Result<imagefs::DiskFiles> Images::open_top(const std::string& id) {
    return store_.open_top(id);
}
Result<bool> Images::is_unwritten(const imagefs::DiskFiles& disk) {
    TRY_ASSIGN(Fd data, disk.top_data.duplicate());
    TRY_ASSIGN(Fd meta, disk.top_meta.duplicate());
    TRY_ASSIGN(const auto top,
               imagefs::WritableTop::open_to_read(std::move(data), std::move(meta)));
    return top.map().count(imagefs::BlockState::kAbsent) == top.map().blocks();
}
Result<imagefs::DiskFiles> Images::reset_top(const std::string& id, const ImageRef& image) {
    TRY_ASSIGN(const Digest chain, Digest::parse(image.chain));
    return store_.reset_top(id, chain);
}
Result<imagefs::DiskFiles> Images::open_read_only(const ImageRef& image) {
    TRY_ASSIGN(const Digest chain, Digest::parse(image.chain));
    return store_.open_chain(chain);
}
Status Images::remove_top(const std::string& id) {
    return store_.remove_top(id);
}

Status Images::check_name(std::string_view reference) {
    if (reference.empty()) return ok();
    TRY_ASSIGN(const Reference name, Reference::parse(reference));
    if (name.digest) return Error{ErrorCode::kInvalid, "an image can't be named by a digest"};
    return ok();
}

Result<SealedDisk> Images::seal_top(const std::string& id) {
    TRY_ASSIGN(auto sealed, store_.seal_top(id));
    return SealedDisk{sealed.chain_id.hex(), sealed.needs_replay, std::move(sealed.files)};
}

Result<std::string> Images::image_config(const std::string& id) {
    TRY_ASSIGN(auto image, store_.resolve(id));
    return std::move(image.config);
}

/// A hostile guest's journal is read by the importer's process.
Result<std::string> Images::replayed(const std::string& chain) {
    TRY_ASSIGN(const auto names, run_importer(paths_.importer, paths_.root, {"replay", chain},
                                              [](std::string_view) {}));
    if (names.size() != 1) return Error{ErrorCode::kCorrupt, "drupe-import replayed no journal"};
    return names.front();
}

Result<std::string> Images::put_image(
    const SealedDisk& disk, const std::string& reference,
    const std::function<Result<std::string>(std::string_view diff_id)>& make_config) {
    imagefs::Image image;
    TRY_ASSIGN(const Fd lease, store_.lease());
    TRY_ASSIGN(const std::string chain, disk.needs_replay ? replayed(disk.chain) : disk.chain);
    TRY_ASSIGN(image.chain_id, Digest::parse(chain));
    if (!reference.empty()) {
        TRY_ASSIGN(const Reference name, Reference::parse(reference));
        image.tags.push_back(name.canonical());
    }
    // What the layer's tar will be isn't known before somebody wants it: until then its chain's
    // made-up ID stands for it.
    TRY_ASSIGN(image.config, make_config(image.chain_id.to_string()));
    image.id = imagefs::sha256(image.config);
    image.created_s = static_cast<int64_t>(realtime_ns() / 1'000'000'000);
    TRY(store_.put_image(image));
    for (const std::string& tag : image.tags) {
        TRY(store_.tag(tag, image.id));
    }
    return image.id.to_string();
}

Result<std::vector<ImageSummary>> Images::list() {
    TRY_ASSIGN(auto images, store_.list_images());
    std::vector<ImageSummary> list;
    for (imagefs::Image& image : images) {
        ImageSummary summary{image.id.to_string(), {}, image.size_bytes, image.created_s};
        if (!image.manifest.is_null()) summary.digest = image.manifest.to_string();
        for (const std::string& tag : image.tags) summary.references.push_back(familiar(tag));
        describe_by_config(image.config, summary);
        std::sort(summary.references.begin(), summary.references.end());
        list.push_back(std::move(summary));
    }
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) { return a.created_s > b.created_s; });
    return list;
}

Result<std::string> Images::id_of(std::string_view name) {
    TRY_ASSIGN(const auto image, find(name));
    return image.id.to_string();
}

Result<uint64_t> Images::size_of(std::string_view name) {
    TRY_ASSIGN(const auto image, find(name));
    return image.size_bytes;
}

Result<std::string> Images::inspect(std::string_view name) {
    TRY_ASSIGN(auto image, find(name));
    TRY_ASSIGN(const auto chain, store_.chain(image.chain_id));
    ImageDescription description;
    description.id = image.id.to_string();
    for (const std::string& tag : image.tags) description.references.push_back(familiar(tag));
    description.digest = image.manifest.is_null() ? "" : image.manifest.to_string();
    description.size_bytes = image.size_bytes;
    description.tagged_ns = static_cast<uint64_t>(std::max<int64_t>(image.tagged_ns, 0));
    description.config = std::move(image.config);
    for (const auto& layer : chain) {
        if (layer.parent) description.layers.push_back(layer.diff_id.to_string());
    }
    return inspect_json(description);
}

Status Images::tag(std::string_view source, std::string_view target) {
    TRY_ASSIGN(const Reference reference, Reference::parse(target));
    if (reference.digest) {
        return Error{ErrorCode::kInvalid, "a tag can't name a digest: write NAME[:TAG]"};
    }
    TRY_ASSIGN(const auto image, find(source));
    return store_.tag(reference.canonical(), image.id);
}

}  // namespace drupe::engine
