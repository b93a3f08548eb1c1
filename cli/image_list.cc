#include "cli/image_list.h"

#include <fnmatch.h>

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
    const engine::ImageSummary* image;
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

std::vector<Line> lines_of(const std::vector<engine::ImageSummary>& images,
                           const std::string& name) {
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

std::string digest_text(const engine::ImageSummary& image) {
    return image.digest.empty() ? "<none>" : image.digest;
}

bool matches_any(const std::vector<std::string>& patterns, const std::string& reference) {
    const std::string repository = reference.substr(0, reference.rfind(':'));
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
        return ::fnmatch(pattern.c_str(), reference.c_str(), FNM_PATHNAME) == 0 ||
               ::fnmatch(pattern.c_str(), repository.c_str(), FNM_PATHNAME) == 0;
    });
}

bool has_label(const engine::ImageSummary& image, const std::string& text) {
    const size_t equals = text.find('=');
    const auto label = image.labels.find(text.substr(0, equals));
    return label != image.labels.end() &&
           (equals == std::string::npos || label->second == text.substr(equals + 1));
}

}  // namespace

Result<ImageFilter> parse_image_filter(
    const std::vector<std::string>& texts,
    const std::function<Result<int64_t>(const std::string& name)>& created) {
    ImageFilter filter;
    for (const std::string& text : texts) {
        const size_t equals = text.find('=');
        const std::string key = text.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : text.substr(equals + 1);
        if (key == "dangling" && (value == "true" || value == "1")) {
            filter.dangling = true;
        } else if (key == "dangling" && (value == "false" || value == "0")) {
            filter.dangling = false;
        } else if (key == "reference" && !value.empty()) {
            filter.references.push_back(value);
        } else if (key == "label" && !value.empty()) {
            filter.labels.push_back(value);
        } else if (key == "before" && !value.empty()) {
            TRY_ASSIGN(filter.before_s, created(value));
        } else if (key == "since" && !value.empty()) {
            TRY_ASSIGN(filter.since_s, created(value));
        } else {
            return Error{
                ErrorCode::kInvalid,
                "invalid filter '" + text +
                    "': it takes dangling=true|false, reference=PATTERN, label=KEY[=VALUE], "
                    "before=IMAGE and since=IMAGE"};
        }
    }
    return filter;
}

void apply_filter(std::vector<engine::ImageSummary>& images, const ImageFilter& filter) {
    std::erase_if(images, [&](engine::ImageSummary& image) {
        if (filter.dangling && *filter.dangling != image.references.empty()) return true;
        if (filter.before_s && image.created_s >= *filter.before_s) return true;
        if (filter.since_s && image.created_s <= *filter.since_s) return true;
        if (!std::all_of(filter.labels.begin(), filter.labels.end(),
                         [&](const std::string& label) { return has_label(image, label); })) {
            return true;
        }
        if (filter.references.empty()) return false;
        std::erase_if(image.references, [&](const std::string& reference) {
            return !matches_any(filter.references, reference);
        });
        return image.references.empty();
    });
}

Result<std::string> image_list_text(const std::vector<engine::ImageSummary>& images,
                                    const ImageListOptions& options, uint64_t now_ns) {
    const auto id_text = [&](const std::string& id) {
        return options.no_trunc ? id : id.substr(kAlgorithmBytes, kShortDigits);
    };
    const auto age = [&](const engine::ImageSummary& image) {
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
