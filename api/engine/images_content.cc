// What is in images and containers: history, save, diff, export.

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/engine/images.h"
#include "api/engine/time_text.h"
#include "base/json_reader.h"
#include "imagefs/oci/reference.h"

namespace drupe::engine {
namespace {

using imagefs::Digest;
using imagefs::oci::Reference;

constexpr uint64_t kNano = 1'000'000'000;
constexpr size_t kMaxSteps = 4096;

std::string text_member(const nlohmann::json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// Whether a name says a repository only: "debian", "localhost:5000/app".
bool is_repository(const std::string& name) {
    const size_t slash = name.rfind('/');
    return name.find(':', slash == std::string::npos ? 0 : slash) == std::string::npos;
}

}  // namespace

Result<std::vector<HistoryEntry>> Images::history(std::string_view name) {
    TRY_ASSIGN(const auto image, find(name));
    TRY_ASSIGN(const auto chain, store_.chain(image.chain_id));
    const auto config = nlohmann::json::parse(image.config, nullptr, /*allow_exceptions=*/false);
    if (!config.is_object()) return Error{ErrorCode::kCorrupt, "image configuration: no object"};
    std::vector<HistoryEntry> entries;
    size_t layer = 1;  // 0 is the empty file system below all images
    const auto next_size = [&] { return layer < chain.size() ? chain[layer++].size_bytes : 0; };
    const auto steps = config.find("history");
    if (steps != config.end() && steps->is_array() && steps->size() <= kMaxSteps) {
        for (const auto& step : *steps) {
            if (!step.is_object()) continue;
            HistoryEntry entry{"<missing>", 0, text_member(step, "created_by"),
                               text_member(step, "comment")};
            const auto time = parse_time_text(text_member(step, "created"));
            if (time) entry.created_s = static_cast<int64_t>(*time / kNano);
            const auto empty = step.find("empty_layer");
            const bool has_layer = empty == step.end() || *empty != true;
            entry.size_bytes = has_layer ? next_size() : 0;
            entries.push_back(std::move(entry));
        }
    }
    while (layer < chain.size()) entries.push_back({"<missing>", 0, "", "", next_size()});
    std::reverse(entries.begin(), entries.end());
    if (entries.empty()) return entries;
    entries.front().id = image.id.to_string();
    for (const std::string& tag : image.tags) {
        const auto reference = Reference::parse(tag);
        entries.front().tags.push_back(reference ? reference.value().familiar() : tag);
    }
    return entries;
}

Result<std::vector<std::string>> Images::expand(const std::string& name) {
    std::vector<std::string> names;
    const auto wanted = Reference::parse(name);
    if (!wanted || !is_repository(name)) return std::vector{name};
    TRY_ASSIGN(const auto images, store_.list_images());
    for (const auto& image : images) {
        for (const std::string& tag : image.tags) {
            const auto reference = Reference::parse(tag);
            if (reference && reference.value().registry == wanted.value().registry &&
                reference.value().repository == wanted.value().repository) {
                names.push_back(tag);
            }
        }
    }
    if (names.empty()) names.push_back(name);
    std::sort(names.begin(), names.end());
    return names;
}

Status Images::save(const std::vector<std::string>& names, imagefs::ArchiveFormat format,
                    const imagefs::TarSink& sink) {
    TRY_ASSIGN(const Fd lease, store_.lease());
    std::vector<imagefs::ArchivedImage> images;
    std::vector<Digest> ids;
    for (const std::string& name : names) {
        TRY_ASSIGN(const auto expanded, expand(name));
        for (const std::string& one : expanded) {
            TRY_ASSIGN(const auto image, find(one));
            const auto known = std::find(ids.begin(), ids.end(), image.id);
            const auto at = static_cast<size_t>(known - ids.begin());
            if (known == ids.end()) {
                TRY_ASSIGN(auto prepared, imagefs::prepare_image(store_, image, {}, tar_opener()));
                ids.push_back(image.id);
                images.push_back({std::move(prepared), {}});
            }
            const auto reference = Reference::parse(one);
            if (!reference) continue;
            const std::string canonical = reference.value().canonical();
            auto& references = images[at].references;
            // One that was named by its id has no name in the archive.
            if (std::find(image.tags.begin(), image.tags.end(), canonical) != image.tags.end() &&
                std::find(references.begin(), references.end(), canonical) == references.end()) {
                references.push_back(canonical);
            }
        }
    }
    return imagefs::write_archive(format, images, sink);
}

imagefs::OpenLayerTar Images::tar_opener() {
    return [this](const imagefs::ChainId& parent,
                  const imagefs::ChainId& layer) -> Result<std::unique_ptr<imagefs::ByteSource>> {
        TRY_ASSIGN(auto before, store_.open_chain(parent));
        TRY_ASSIGN(auto after, store_.open_chain(layer));
        return reader_.layer_tar(std::move(before), std::move(after));
    };
}

Result<imagefs::DiskFiles> Images::open_files(const Container& container, const SealedDisk* at) {
    if (at != nullptr) {
        TRY_ASSIGN(const std::string name, at->needs_replay ? replayed(at->chain) : at->chain);
        TRY_ASSIGN(const auto chain, Digest::parse(name));
        return store_.open_chain(chain);
    }
    if (container.state == State::kRunning || container.state == State::kPaused) {
        return Error{ErrorCode::kConflict,
                     fmt::format("container {} is running: stop it first, so that its files stay "
                                 "as they are",
                                 container.name)};
    }
    auto files = store_.open_top(container.id);
    if (files || files.error().code != ErrorCode::kNotFound || !container.config.read_only) {
        return files;
    }
    // Nothing could be written.
    TRY_ASSIGN(const auto image, store_.resolve(container.image_id));
    return store_.open_chain(image.chain_id);
}

Status Images::diff(const Container& container, const SealedDisk* at,
                    const std::function<Status(char, std::string_view)>& visit) {
    TRY_ASSIGN(auto after, open_files(container, at));
    // An image that was removed by force leaves its layers to its containers.
    const auto image = store_.resolve(container.image_id);
    TRY_ASSIGN(const auto index, imagefs::MergedIndex::open(after.index, "of the container"));
    // A sealed disk's chain goes on from its image's.
    TRY_ASSIGN(auto before, store_.open_chain(image ? image.value().chain_id : index.chain_id()));
    return reader_.diff(std::move(before), std::move(after), visit);
}

Result<std::unique_ptr<imagefs::ByteSource>> Images::export_files(const Container& container,
                                                                  const SealedDisk* at) {
    TRY_ASSIGN(auto after, open_files(container, at));
    TRY_ASSIGN(const auto index, imagefs::MergedIndex::open(after.index, "of the container"));
    TRY_ASSIGN(const auto chain, store_.chain(index.chain_id()));
    // All that isn't in the empty file system below all images.
    TRY_ASSIGN(auto before, store_.open_chain(chain.front().chain_id));
    return reader_.layer_tar(std::move(before), std::move(after));
}

}  // namespace drupe::engine
