#include "cli/image_list.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/engine/status_text.h"
#include "api/engine/time_text.h"
#include "base/json_reader.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr uint64_t kNano = 1'000'000'000;
constexpr size_t kShortDigits = 12;
constexpr size_t kAlgorithmBytes = 7;  // of "sha256:"

struct Line {
    std::string repository;
    std::string tag;
    const ListedImage* image;
};

/// A digest is no tag.
Line split(const std::string& reference) {
    const size_t digest = reference.find('@');
    if (digest != std::string::npos) return {reference.substr(0, digest), "<none>", nullptr};
    // The last colon, unless it belongs to a registry's port.
    const size_t colon = reference.rfind(':');
    const bool has_tag =
        colon != std::string::npos && reference.find('/', colon) == std::string::npos;
    if (!has_tag) return {reference, "<none>", nullptr};
    return {reference.substr(0, colon), reference.substr(colon + 1), nullptr};
}

std::vector<Line> lines_of(const std::vector<ListedImage>& images, const std::string& name) {
    std::vector<Line> lines;
    for (const auto& image : images) {
        if (image.references.empty() && name.empty()) lines.push_back({"<none>", "<none>", &image});
        for (const std::string& reference : image.references) {
            Line line = split(reference);
            line.image = &image;
            if (name.empty() || name == line.repository || name == reference) {
                lines.push_back(std::move(line));
            }
        }
    }
    return lines;
}

std::string digest_text(const ListedImage& image) {
    return image.digest.empty() ? "<none>" : image.digest;
}

}  // namespace

Result<std::string> image_list_text(const std::vector<ListedImage>& images,
                                    const ImageListOptions& options, uint64_t now_ns) {
    const auto id_text = [&](const std::string& id) {
        return options.no_trunc ? id : id.substr(kAlgorithmBytes, kShortDigits);
    };
    const auto age = [&](const ListedImage& image) {
        const auto created = static_cast<uint64_t>(std::max<int64_t>(image.created_s, 0));
        return engine::human_duration(now_ns / kNano > created ? now_ns / kNano - created : 0) +
               " ago";
    };
    const auto lines = lines_of(images, options.name);
    if (options.quiet) {
        std::string text;
        for (const Line& line : lines) text += id_text(line.image->id) + "\n";
        return text;
    }
    if (options.json || !options.format.empty()) {
        nlohmann::json items = nlohmann::json::array();
        for (const Line& line : lines) {
            const auto created = static_cast<uint64_t>(line.image->created_s) * kNano;
            items.push_back({{"Repository", line.repository},
                             {"Tag", line.tag},
                             {"Digest", digest_text(*line.image)},
                             {"ID", id_text(line.image->id)},
                             {"CreatedAt", engine::time_text(created)},
                             {"CreatedSince", age(*line.image)},
                             {"Size", human_size(line.image->size_bytes)},
                             {"SizeBytes", line.image->size_bytes}});
        }
        if (options.json) return dump_json(items) + "\n";
        return render_list(options.format, items);
    }
    std::vector<std::string> header{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"};
    if (options.digests) header.insert(header.begin() + 2, "DIGEST");
    Table table(std::move(header));
    for (const Line& line : lines) {
        std::vector<std::string> cells{line.repository, line.tag, id_text(line.image->id),
                                       age(*line.image), human_size(line.image->size_bytes)};
        if (options.digests) cells.insert(cells.begin() + 2, digest_text(*line.image));
        table.row(std::move(cells));
    }
    return table.text();
}

}  // namespace drupe::cli
