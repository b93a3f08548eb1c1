#include "cli/registry_auth.h"

#include <algorithm>

#include "base/json_reader.h"
#include "imagefs/registry/base64.h"
#include "imagefs/registry/credentials.h"

namespace drupe::cli {

Result<client::Pairs> registry_auth(const std::string& registry) {
    using namespace imagefs::registry;
    TRY_ASSIGN(const Credentials known, CredentialFile::of_user().find(registry));
    if (known.empty()) return client::Pairs();
    const nlohmann::json json{{"username", known.user},
                              {"password", known.password},
                              {"identitytoken", known.identity_token},
                              {"serveraddress", registry}};
    std::string text = base64_encode(dump_json(json));
    std::replace(text.begin(), text.end(), '+', '-');
    std::replace(text.begin(), text.end(), '/', '_');
    return client::Pairs{{"X-Registry-Auth", std::move(text)}};
}

}  // namespace drupe::cli
