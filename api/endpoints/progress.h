#pragma once

#include <string>

#include "api/endpoints/call.h"
#include "api/engine/images.h"
#include "api/engine/importer.h"

namespace drupe::endpoints {

/// An answer of JSON lines that say how something goes on. An error after the head was sent is a
/// line too, and no status.
class Progress {
  public:
    explicit Progress(const Call& call) : call_(call) {}

    /// {"status": TEXT, "id": ID}, without an empty id. Begins the answer if need be.
    [[nodiscard]] Status status(const std::string& text, const std::string& id = "");
    [[nodiscard]] Status line(const Json& json);
    /// Layers of a pull or push, for the engine to report to.
    [[nodiscard]] engine::Watch layers();
    /// For ImporterTask::cancelled: the client has gone.
    [[nodiscard]] std::function<bool()> cancelled() const;
    /// Says an error: as a line once the answer has begun, else for the caller to return.
    [[nodiscard]] Status fail(const Error& error);

  private:
    const Call& call_;
    bool begun_ = false;
};

/// X-Registry-Auth: base64url of {"username", "password", "identitytoken", "serveraddress"}. Absent
/// or empty: nobody in particular.
[[nodiscard]] Result<engine::RegistryLogin> registry_login(const Call& call);

}  // namespace drupe::endpoints
