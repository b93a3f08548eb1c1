#include "api/engine/commit_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "api/engine/commit_health.h"
#include "api/engine/time_text.h"

namespace drupe::engine {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

constexpr size_t kMaxChanges = 1000;

Error bad_change(std::string_view change, std::string_view why) {
    return Error{ErrorCode::kInvalid, fmt::format("change \"{}\": {}", change.substr(0, 100), why)};
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
        text.remove_prefix(1);
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
        text.remove_suffix(1);
    return text;
}

/// Splits at spaces outside of quotes; quotes go, a backslash keeps the next character.
Words split(std::string_view text) {
    Words words;
    std::string word;
    bool in_word = false;
    char quote = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '\\' && i + 1 < text.size() && quote != '\'') {
            word += text[++i];
            in_word = true;
        } else if (quote != 0 ? c == quote : (c == '"' || c == '\'')) {
            quote = quote != 0 ? 0 : c;
            in_word = true;
        } else if (quote == 0 && std::isspace(static_cast<unsigned char>(c)) != 0) {
            if (std::exchange(in_word, false)) words.push_back(std::exchange(word, {}));
        } else {
            word += c;
            in_word = true;
        }
    }
    if (in_word) words.push_back(std::move(word));
    return words;
}

/// ["a", "b"], or nothing if it isn't a JSON list of strings.
std::optional<Words> json_list(std::string_view text) {
    const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!value.is_array()) return std::nullopt;
    Words words;
    for (const json& item : value) {
        if (!item.is_string()) return std::nullopt;
        words.push_back(item.get<std::string>());
    }
    return words;
}

Words command(std::string_view text) {
    if (auto list = json_list(text)) return *std::move(list);
    return {"/bin/sh", "-c", std::string(text)};
}

void set_env(json& config, const std::string& assignment) {
    const std::string name = assignment.substr(0, assignment.find('='));
    json& env = config["Env"];
    if (!env.is_array()) env = json::array();
    for (json& old : env) {
        if (!old.is_string()) continue;
        const auto& text = old.get_ref<const std::string&>();
        if (text.compare(0, name.size() + 1, name + "=") == 0) {
            old = assignment;
            return;
        }
    }
    env.push_back(assignment);
}

/// "A=b C=d", or the old form "A the rest".
Result<std::vector<std::pair<std::string, std::string>>> assignments(std::string_view change,
                                                                     std::string_view text) {
    std::vector<std::pair<std::string, std::string>> result;
    const Words words = split(text);
    if (!words.empty() && words[0].find('=') == std::string::npos) {
        const size_t space = text.find_first_of(" \t");
        if (space == std::string_view::npos) return bad_change(change, "needs NAME=VALUE");
        result.emplace_back(words[0], trim(text.substr(space)));
        return result;
    }
    for (const std::string& word : words) {
        const size_t equals = word.find('=');
        if (equals == 0 || equals == std::string::npos)
            return bad_change(change, "needs NAME=VALUE");
        result.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
    return result;
}

void add_keys(json& set, const Words& keys) {
    if (!set.is_object()) set = json::object();
    for (const std::string& key : keys) set[key] = json::object();
}

std::string port(const std::string& text) {
    return text.find('/') == std::string::npos ? text + "/tcp" : text;
}

std::string absolute(const json& config, const std::string& path) {
    if (path.starts_with('/')) return path;
    const auto found = config.find("WorkingDir");
    std::string base = found != config.end() && found->is_string() ? found->get<std::string>() : "";
    if (!base.ends_with('/')) base += '/';
    return base + path;
}

Status apply_change(json& config, std::string_view change) {
    const std::string_view text = trim(change);
    const size_t space = text.find_first_of(" \t");
    std::string name(text.substr(0, space));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const std::string_view rest =
        space == std::string_view::npos ? std::string_view() : trim(text.substr(space));
    if (rest.empty()) return bad_change(change, "an instruction needs an argument");
    if (name == "CMD") {
        config["Cmd"] = command(rest);
    } else if (name == "ENTRYPOINT") {
        config["Entrypoint"] = command(rest);
    } else if (name == "ENV") {
        TRY_ASSIGN(const auto list, assignments(change, rest));
        for (const auto& [key, value] : list) {
            set_env(config, std::string(key).append("=").append(value));
        }
    } else if (name == "LABEL") {
        TRY_ASSIGN(const auto list, assignments(change, rest));
        if (!config["Labels"].is_object()) config["Labels"] = json::object();
        for (const auto& [key, value] : list) config["Labels"][key] = value;
    } else if (name == "EXPOSE") {
        Words ports = split(rest);
        std::transform(ports.begin(), ports.end(), ports.begin(), port);
        add_keys(config["ExposedPorts"], ports);
    } else if (name == "VOLUME") {
        const auto list = json_list(rest);
        add_keys(config["Volumes"], list ? *list : split(rest));
    } else if (name == "USER") {
        config["User"] = rest;
    } else if (name == "WORKDIR") {
        config["WorkingDir"] = absolute(config, std::string(rest));
    } else if (name == "STOPSIGNAL") {
        TRY(parse_signal(rest));
        config["StopSignal"] = rest;
    } else if (name == "HEALTHCHECK") {
        TRY_ASSIGN(config["Healthcheck"], parse_healthcheck(rest));
    } else if (name == "ONBUILD") {
        if (!config["OnBuild"].is_array()) config["OnBuild"] = json::array();
        config["OnBuild"].push_back(rest);
    } else {
        std::string unknown = name.substr(0, 64);
        for (char& c : unknown) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        return Error{ErrorCode::kInvalid, unknown + " is not a valid change command"};
    }
    return ok();
}

/// What the container was run with, over what its image said; members of no interest here stay.
void merge_container(json& config, const ContainerConfig& c) {
    const auto set_text = [&](const char* key, const std::string& value) {
        if (!value.empty()) config[key] = value;
    };
    const auto set_list = [&](const char* key, const Words& list) {
        config[key] = list.empty() ? json() : json(list);
    };
    set_text("User", c.user);
    set_text("WorkingDir", c.working_dir);
    set_text("StopSignal", c.stop_signal);
    set_list("Env", c.env);
    set_list("Cmd", c.cmd.value_or(Words{}));
    set_list("Entrypoint", c.entrypoint.value_or(Words{}));
    if (!c.labels.empty()) config["Labels"] = c.labels;
    if (!c.on_build.empty()) config["OnBuild"] = c.on_build;
}

Status apply_changes(json& image, const CommitWords& words) {
    if (words.changes.size() > kMaxChanges) {
        return Error{ErrorCode::kLimit, "more than 1000 changes"};
    }
    json& config = image["config"];
    if (!config.is_object()) config = json::object();
    for (const std::string& change : words.changes) {
        TRY(apply_change(config, change));
    }
    return ok();
}

}  // namespace

Result<std::string> change_config(std::string_view image_config, const CommitWords& words,
                                  uint64_t now_ns) {
    json image = json::parse(image_config, nullptr, /*allow_exceptions=*/false);
    if (!image.is_object()) {
        return Error{ErrorCode::kCorrupt, "the image's configuration isn't one"};
    }
    TRY(apply_changes(image, words));
    image["created"] = time_text(now_ns);
    image["comment"] = words.comment;
    json& history = image["history"];
    if (history.is_array() && !history.empty() && history.back().is_object()) {
        history.back()["created"] = image["created"];
        history.back()["comment"] = words.comment;
        history.back().erase("created_by");
    }
    return image.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> commit_config(std::string_view parent_config, const Container& container,
                                  const CommitWords& words, std::string_view diff_id,
                                  uint64_t now_ns) {
    json image = json::parse(parent_config, nullptr, /*allow_exceptions=*/false);
    if (!image.is_object() || !image["rootfs"].is_object() ||
        !image["rootfs"]["diff_ids"].is_array())
        return Error{ErrorCode::kCorrupt,
                     "the configuration of the container's image isn't one: " + container.image_id};
    json& config = image["config"];
    if (!config.is_object()) config = json::object();
    merge_container(config, container.config);
    TRY(apply_changes(image, words));
    const std::string now = time_text(now_ns);
    image["created"] = now;
    image["container"] = container.id;
    image.erase("container_config");
    image.erase("moby.buildkit.buildinfo.v1");
    if (words.author.empty()) {
        image.erase("author");
    } else {
        image["author"] = words.author;
    }
    image["rootfs"]["diff_ids"].push_back(diff_id);
    if (!image["history"].is_array()) image["history"] = json::array();
    json line{{"created", now},
              {"created_by", fmt::format("{}", fmt::join(argv_of(container.config), " "))}};
    if (!words.author.empty()) line["author"] = words.author;
    if (!words.comment.empty()) {
        line["comment"] = words.comment;
        image["comment"] = words.comment;
    } else {
        image.erase("comment");
    }
    image["history"].push_back(std::move(line));
    return image.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace drupe::engine
