#include "cli/template.h"

#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/json_reader.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

using nlohmann::json;

Error bad(std::string_view what) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("--format: {}: it takes {{{{.Name}}}}, {{{{.Outer.Inner}}}}, "
                             "{{{{json .}}}} and {{{{json .Name}}}}",
                             what)};
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return text;
}

Result<const json*> look_up(std::string_view path, const json& value) {
    if (!path.starts_with('.')) return bad(fmt::format("can't read \"{}\"", path));
    path.remove_prefix(1);
    const json* at = &value;
    while (!path.empty()) {
        const size_t dot = path.find('.');
        const std::string name(path.substr(0, dot));
        path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
        if (!at->is_object() || !at->contains(name)) {
            return bad(fmt::format("there is no \"{}\" here", name));
        }
        at = &(*at)[name];
    }
    return at;
}

/// As Go prints a value.
std::string plain(const json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_null()) return "<no value>";
    if (value.is_array()) {
        std::string text = "[";
        for (const json& item : value) text += (text.size() > 1 ? " " : "") + plain(item);
        return text + "]";
    }
    if (value.is_object()) {
        std::string text = "map[";
        for (const auto& [name, item] : value.items()) {
            text += (text.size() > 4 ? " " : "") + name + ":" + plain(item);
        }
        return text + "]";
    }
    return dump_json(value);
}

std::string unescape(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 't' || text[i + 1] == 'n')) {
            out += text[++i] == 't' ? '\t' : '\n';
        } else {
            out += text[i];
        }
    }
    return out;
}

/// Hands out text and actions (what is between braces) in order.
Status walk(std::string_view format, const std::function<void(std::string_view)>& on_text,
            const std::function<Status(std::string_view)>& on_action) {
    while (!format.empty()) {
        const size_t open = format.find("{{");
        on_text(format.substr(0, open));
        if (open == std::string_view::npos) break;
        const size_t close = format.find("}}", open);
        if (close == std::string_view::npos) return bad("a \"{{\" has no \"}}\"");
        TRY(on_action(trim(format.substr(open + 2, close - open - 2))));
        format.remove_prefix(close + 2);
    }
    return ok();
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    for (;;) {
        const size_t at = text.find(separator);
        parts.emplace_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

/// "Names" of {{.Names}} as a column's header, "NAMES"; as Docker's for those with two words.
Result<std::string> header_of(std::string_view format) {
    std::string header;
    TRY(walk(
        format, [&](std::string_view text) { header += unescape(text); },
        [&](std::string_view action) -> Status {
            if (action.starts_with("json")) action = trim(action.substr(4));
            if (!action.starts_with('.')) return bad(fmt::format("can't read \"{}\"", action));
            std::string name(action.substr(action.rfind('.') + 1));
            if (name == "ID") name = "CONTAINER ID";
            if (name == "CreatedAt") name = "CREATED AT";
            if (name == "CreatedSince" || name == "RunningFor") name = "CREATED";
            for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
            header += name;
            return ok();
        }));
    return header;
}

}  // namespace

Result<std::string> render(std::string_view format, const json& value) {
    std::string out;
    TRY(walk(
        format, [&](std::string_view text) { out += unescape(text); },
        [&](std::string_view action) -> Status {
            const bool as_json = action.starts_with("json ");
            if (as_json) action = trim(action.substr(5));
            TRY_ASSIGN(const json* found, look_up(action, value));
            out += as_json ? dump_json(*found) : plain(*found);
            return ok();
        }));
    return out;
}

Result<std::string> render_list(std::string_view format, const json& items) {
    std::string out;
    if (format == "json") {
        for (const json& item : items) out += dump_json(item) + "\n";
        return out;
    }
    if (!format.starts_with("table ")) {
        for (const json& item : items) {
            TRY_ASSIGN(const std::string line, render(format, item));
            out += line + "\n";
        }
        return out;
    }
    format.remove_prefix(6);
    TRY_ASSIGN(const std::string header, header_of(format));
    Table table(split(header, '\t'));
    for (const json& item : items) {
        TRY_ASSIGN(const std::string line, render(format, item));
        table.row(split(line, '\t'));
    }
    return table.text();
}

}  // namespace drupe::cli
