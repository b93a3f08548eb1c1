// POST /auth

#include "api/endpoints/images.h"
#include "base/json_reader.h"

namespace drupe::endpoints {

Status check_auth(const Call& call) {
    TRY_ASSIGN(const auto body, call.body());
    std::string user;
    std::string password;
    std::string server;
    JsonReader in(body);
    in.get("username", user);
    in.get("password", password);
    in.get("serveraddress", server);
    TRY(in.status());
    if (user.empty() || password.empty()) {
        return Error{ErrorCode::kInvalid, "username and password have to be there"};
    }
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY(engine.images().check_login(server, user, password));
    return call.answer(200, {{"Status", "Login Succeeded"}, {"IdentityToken", ""}});
}

}  // namespace drupe::endpoints
