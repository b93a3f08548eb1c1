#include "api/engine/import_registry.h"

#include <unistd.h>

#include <chrono>
#include <map>

#include "base/fd.h"
#include "base/json_reader.h"
#include "imagefs/registry/pull.h"
#include "imagefs/registry/push.h"

namespace drupe {
namespace {

using imagefs::Store;
using imagefs::oci::Reference;
namespace registry = imagefs::registry;

constexpr size_t kShownDigits = 12;
constexpr size_t kMaxPasswordBytes = 64 << 10;
constexpr std::chrono::milliseconds kBetweenCounts{100};

using SayLine = std::function<void(const nlohmann::json&)>;

Result<registry::Session> make_session(const std::string& root) {
    TRY_ASSIGN(registry::Config config, registry::Config::load(root));
    return registry::Session{std::move(config), registry::CredentialFile::of_user(), {}, {}};
}

/// With the credentials on standard input; without any there, the user's.
Result<registry::Session> make_transfer_session(const std::string& root) {
    TRY_ASSIGN(registry::Session session, make_session(root));
    TRY_ASSIGN(const std::string text, read_all(STDIN_FILENO, kMaxPasswordBytes));
    if (text.empty()) return session;
    TRY_ASSIGN(const auto json, parse_json(text));
    registry::Credentials& given = session.given.emplace();
    JsonReader in(json, "credentials");
    in.get("user", given.user);
    in.get("password", given.password);
    in.get("identity_token", given.identity_token);
    TRY(in.status());
    return session;
}

/// Every change of a state, but of mere numbers only a few a second.
registry::LayerReport reporter(const SayLine& say) {
    struct Last {
        std::string state;
        std::chrono::steady_clock::time_point said;
    };
    auto last = std::make_shared<std::map<imagefs::Digest, Last>>();
    return [say, last](const registry::LayerEvent& event) {
        const auto now = std::chrono::steady_clock::now();
        Last& before = (*last)[event.blob];
        if (before.state == event.state && now - before.said < kBetweenCounts) return;
        before = {event.state, now};
        nlohmann::json layer{{"id", event.blob.hex().substr(0, kShownDigits)},
                             {"state", event.state},
                             {"bytes", event.bytes},
                             {"total", event.total_bytes}};
        say({{"layer", std::move(layer)}});
    };
}

Result<nlohmann::json> pull(const std::string& root, const std::string& name, const SayLine& say) {
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    TRY_ASSIGN(const registry::Session session, make_transfer_session(root));
    TRY_ASSIGN(Store store, Store::open(root));
    TRY_ASSIGN(const auto pulled, registry::pull(store, session, reference, {}, reporter(say)));
    return nlohmann::json{{"name", reference.canonical()},
                          {"digest", pulled.digest.to_string()},
                          {"newer", pulled.is_newer}};
}

Result<nlohmann::json> push(const std::string& root, const std::string& name, const SayLine& say) {
    TRY_ASSIGN(const Reference reference, Reference::parse(name));
    TRY_ASSIGN(const registry::Session session, make_transfer_session(root));
    TRY_ASSIGN(Store store, Store::open(root));
    TRY_ASSIGN(const imagefs::Image image, store.resolve(reference.canonical()));
    TRY_ASSIGN(const auto pushed, registry::push(store, session, image, reference, reporter(say)));
    return nlohmann::json{{"digest", pushed.digest.to_string()}, {"size", pushed.manifest_bytes}};
}

Result<nlohmann::json> check_login(const std::string& root, const std::string& host,
                                   const std::string& user) {
    TRY_ASSIGN(const registry::Session session, make_session(root));
    TRY_ASSIGN(const std::string password, read_all(STDIN_FILENO, kMaxPasswordBytes));
    const registry::Credentials credentials{user, password, {}};
    TRY(registry::check_login(session, host, credentials));
    return nlohmann::json::object();
}

}  // namespace

bool is_registry_command(const std::string& command) {
    return command == "pull" || command == "push" || command == "check-login";
}

Result<nlohmann::json> run_registry_command(const std::string& root,
                                            const std::vector<std::string>& words,
                                            const SayLine& say) {
    const std::string& command = words[0];
    if (command == "pull" && words.size() == 2) return pull(root, words[1], say);
    if (command == "push" && words.size() == 2) return push(root, words[1], say);
    if (command == "check-login" && words.size() == 3) return check_login(root, words[1], words[2]);
    return Error{ErrorCode::kInvalid, "drupe-import " + command + ": wrong arguments"};
}

}  // namespace drupe
