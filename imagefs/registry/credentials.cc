#include "imagefs/registry/credentials.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/fd.h"
#include "imagefs/oci/json.h"
#include "imagefs/registry/base64.h"
#include "imagefs/registry/helper_process.h"

namespace drupe::imagefs::registry {
namespace {

using oci::Json;

constexpr size_t kMaxFileBytes = 4 << 20;
constexpr size_t kMaxHelperBytes = 64 << 10;
constexpr int kHelperTimeoutMs = 30'000;
/// Docker Hub's entry has the name of its first API.
constexpr const char* kHubEntry = "https://index.docker.io/v1/";

std::string entry_name(const std::string& registry) {
    return registry == "docker.io" ? kHubEntry : registry;
}

/// "https://host/v1/" -> "host": how older Dockers wrote entries.
std::string host_of_entry(std::string name) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (name.starts_with(scheme)) name.erase(0, scheme.size());
    }
    return name.substr(0, name.find('/'));
}

Result<Json> read_json(const std::string& path) {
    const auto text = read_file(path, kMaxFileBytes);
    if (!text && text.error().code == ErrorCode::kNotFound) return Json::object();
    if (!text) return text.error();
    if (text.value().find_first_not_of(" \t\r\n") == std::string::npos) return Json::object();
    TRY_ASSIGN(Json json, oci::parse_json(text.value(), path));
    if (!json.is_object()) return Error{ErrorCode::kInvalid, path + ": not a JSON object"};
    return json;
}

/// Written beside it and renamed: an interrupted login loses nothing.
Status write_json(const std::string& path, const Json& json) {
    const std::string folder = path.substr(0, path.rfind('/'));
    std::error_code error;
    const bool made = std::filesystem::create_directories(folder, error);
    if (error) return os_error("create " + folder, error.value());
    if (made && ::chmod(folder.c_str(), 0700) < 0) return os_error("chmod " + folder);
    const std::string text = json.dump(4) + "\n";
    std::string draft = path + ".XXXXXX";
    const Fd file(::mkostemp(draft.data(), O_CLOEXEC));  // mode 0600
    if (!file.valid()) return os_error("create " + draft);
    Status written = write_all(file.get(), std::as_bytes(std::span(text)));
    if (written && ::fsync(file.get()) < 0) written = os_error("fsync " + draft);
    if (written && ::rename(draft.c_str(), path.c_str()) < 0) written = os_error("rename " + draft);
    if (!written) ::unlink(draft.c_str());
    return written;
}

/// The helper for an entry; empty: the file itself keeps it.
Result<std::string> helper_of(const Json& json, const std::string& registry) {
    TRY_ASSIGN(const auto helpers, oci::map_member(json, "credHelpers"));
    for (const auto& [host, name] : helpers) {
        if (host == registry || host == entry_name(registry)) return name;
    }
    TRY_ASSIGN(const auto store, oci::string_member(json, "credsStore"));
    return store.value_or("");
}

Result<std::string> run_helper(const std::string& name, const char* action,
                               const std::string& input) {
    const std::string program = "docker-credential-" + name;
    if (name.find('/') != std::string::npos) {
        return Error{ErrorCode::kInvalid, fmt::format("'{}' can't name a credential helper", name)};
    }
    TRY_ASSIGN(ProcessOutput done,
               run_process({program, action}, input, kHelperTimeoutMs, kMaxHelperBytes));
    if (done.status == 0) return std::move(done.out);
    // The protocol's way to say so.
    const ErrorCode code = done.out.find("credentials not found") != std::string::npos
                               ? ErrorCode::kNotFound
                               : ErrorCode::kDenied;
    return Error{code, fmt::format("{} {} ends with {}: {}", program, action, done.status,
                                   done.out.substr(0, done.out.find('\n')).substr(0, 200))};
}

Result<Credentials> ask_helper(const std::string& helper, const std::string& registry) {
    auto answer = run_helper(helper, "get", entry_name(registry));
    if (!answer && answer.error().code == ErrorCode::kNotFound && answer.error().os_errno == 0) {
        return Credentials{};
    }
    TRY_ASSIGN(const std::string text, std::move(answer));
    TRY_ASSIGN(const Json json, oci::parse_json(text, "docker-credential-" + helper));
    TRY_ASSIGN(const auto user, oci::string_member(json, "Username"));
    TRY_ASSIGN(const auto secret, oci::string_member(json, "Secret"));
    if (user == "<token>") return Credentials{"", "", secret.value_or("")};
    return Credentials{user.value_or(""), secret.value_or(""), ""};
}

Result<Credentials> read_entry(const Json& entry) {
    Credentials found;
    TRY_ASSIGN(const auto token, oci::string_member(entry, "identitytoken"));
    TRY_ASSIGN(const auto auth, oci::string_member(entry, "auth"));
    TRY_ASSIGN(const auto user, oci::string_member(entry, "username"));
    TRY_ASSIGN(const auto password, oci::string_member(entry, "password"));
    found = {user.value_or(""), password.value_or(""), token.value_or("")};
    if (!auth || auth->empty()) return found;
    const auto plain = base64_decode(*auth);
    const size_t colon = plain ? plain->find(':') : std::string::npos;
    if (colon == std::string::npos) {
        return Error{ErrorCode::kInvalid, "an \"auth\" isn't USER:PASSWORD in base64"};
    }
    found.user = plain->substr(0, colon);
    found.password = plain->substr(colon + 1);
    while (found.password.ends_with('\0')) found.password.pop_back();
    return found;
}

/// The name of a registry's entry among `auths`, if there is one.
std::string find_entry(const Json& auths, const std::string& registry) {
    if (auths.contains(entry_name(registry))) return entry_name(registry);
    for (const auto& [name, unused] : auths.items()) {
        const std::string host = host_of_entry(name);
        if (host == registry || (registry == "docker.io" && host == "index.docker.io")) return name;
    }
    return {};
}

}  // namespace

CredentialFile CredentialFile::of_user() {
    if (const char* folder = std::getenv("DOCKER_CONFIG"); folder != nullptr && *folder != '\0') {
        return CredentialFile(std::string(folder) + "/config.json");
    }
    const char* home = std::getenv("HOME");
    return CredentialFile(std::string(home == nullptr ? "/root" : home) + "/.docker/config.json");
}

Result<Credentials> CredentialFile::find(const std::string& registry) const {
    TRY_ASSIGN(const Json json, read_json(path_));
    TRY_ASSIGN(const std::string helper, helper_of(json, registry));
    if (!helper.empty()) return ask_helper(helper, registry);
    TRY_ASSIGN(const Json* auths, oci::object_member(json, "auths"));
    if (auths == nullptr) return Credentials{};
    const std::string name = find_entry(*auths, registry);
    if (name.empty()) return Credentials{};
    auto found = read_entry((*auths)[name]);
    if (!found) return std::move(found).error().wrap(fmt::format("{}: {}", path_, name));
    return found;
}

Status CredentialFile::store(const std::string& registry, const Credentials& credentials) const {
    TRY_ASSIGN(Json json, read_json(path_));
    TRY(oci::object_member(json, "auths"));
    TRY_ASSIGN(const std::string helper, helper_of(json, registry));
    const std::string name = entry_name(registry);
    if (!helper.empty()) {
        const bool token = !credentials.identity_token.empty();
        const Json input{{"ServerURL", name},
                         {"Username", token ? "<token>" : credentials.user},
                         {"Secret", token ? credentials.identity_token : credentials.password}};
        TRY(run_helper(helper, "store",
                       input.dump(-1, ' ', false, Json::error_handler_t::replace)));
        json["auths"][name] = Json::object();
        return write_json(path_, json);
    }
    Json entry{{"auth", base64_encode(credentials.user + ":" + credentials.password)}};
    if (!credentials.identity_token.empty()) entry["identitytoken"] = credentials.identity_token;
    json["auths"][name] = std::move(entry);
    return write_json(path_, json);
}

Status CredentialFile::erase(const std::string& registry) const {
    TRY_ASSIGN(Json json, read_json(path_));
    TRY_ASSIGN(const Json* auths, oci::object_member(json, "auths"));
    TRY_ASSIGN(const std::string helper, helper_of(json, registry));
    const std::string name = auths == nullptr ? std::string() : find_entry(*auths, registry);
    if (name.empty() && helper.empty()) {
        return Error{ErrorCode::kNotFound, fmt::format("Not logged in to {}", registry)};
    }
    if (!helper.empty()) {
        TRY(run_helper(helper, "erase", entry_name(registry)));
    }
    if (name.empty()) return ok();
    json["auths"].erase(name);
    return write_json(path_, json);
}

}  // namespace drupe::imagefs::registry
