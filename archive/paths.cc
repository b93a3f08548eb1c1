#include "archive/paths.h"

#include <algorithm>
#include <vector>

namespace drupe::archive {

std::string clean(std::string_view path) {
    const bool rooted = path.starts_with('/');
    std::vector<std::string_view> kept;
    for (size_t at = 0; at <= path.size();) {
        const size_t end = std::min(path.find('/', at), path.size());
        const std::string_view component = path.substr(at, end - at);
        at = end + 1;
        if (component.empty() || component == ".") continue;
        const bool up = component == "..";
        if (up && !kept.empty() && kept.back() != "..") {
            kept.pop_back();
        } else if (!up || !rooted) {
            kept.push_back(component);
        }
    }
    std::string text = rooted ? "/" : "";
    for (size_t i = 0; i < kept.size(); ++i) {
        if (i != 0) text += '/';
        text += kept[i];
    }
    return text.empty() ? "." : text;
}

std::string base_name(std::string_view path) {
    if (path.empty()) return ".";
    while (!path.empty() && path.back() == '/') path.remove_suffix(1);
    if (path.empty()) return "/";
    const size_t slash = path.rfind('/');
    return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

bool has_trailing_slash(std::string_view path) {
    return path.ends_with('/');
}

bool names_contents(std::string_view path) {
    return base_name(path) == ".";
}

bool asserts_folder(std::string_view path) {
    return has_trailing_slash(path) || names_contents(path);
}

std::string clean_like(std::string_view path, std::string_view like) {
    std::string cleaned = clean(path);
    if (names_contents(like) && !names_contents(cleaned)) {
        if (!cleaned.ends_with('/')) cleaned += '/';
        cleaned += '.';
    }
    if (has_trailing_slash(like) && !has_trailing_slash(cleaned)) cleaned += '/';
    return cleaned;
}

std::string container_path(std::string_view path) {
    return clean_like("/" + std::string(path), path.empty() ? "/" : path);
}

SplitPath split_entry(std::string_view path) {
    std::string cleaned = clean(path);
    if (names_contents(path) && !names_contents(cleaned)) cleaned += "/.";
    const size_t slash = cleaned.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : cleaned.substr(0, slash + 1);
    return {clean(folder), base_name(cleaned)};
}

Result<CopyPlan> plan_copy(const CopyEnd& source, const CopyEnd& destination) {
    if (destination.exists && destination.is_folder) return CopyPlan{destination.path, source.name};
    if (destination.exists && source.is_folder)
        return Error{ErrorCode::kConflict, "cannot copy directory"};
    if (!destination.exists && !source.is_folder && asserts_folder(destination.path))
        return Error{ErrorCode::kNotFound, "no such directory"};
    SplitPath split = split_entry(destination.path);
    return CopyPlan{std::move(split.folder), std::move(split.base)};
}

std::string rebase_name(std::string_view asked, std::string& resolved) {
    resolved = clean_like(resolved, asked);
    const std::string name = base_name(asked);
    return name == base_name(resolved) ? "" : name;
}

CopyArgument parse_copy_argument(std::string_view argument) {
    const size_t colon = argument.find(':');
    if (argument.starts_with('/') || argument.starts_with('.') || colon == std::string_view::npos)
        return {"", std::string(argument)};
    return {std::string(argument.substr(0, colon)), std::string(argument.substr(colon + 1))};
}

}  // namespace drupe::archive
