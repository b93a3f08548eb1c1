#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "imagefs/oci/byte_sources.h"
#include "imagefs/registry/config.h"
#include "imagefs/registry/connection.h"

namespace drupe::imagefs::registry {

struct Request {
    std::string method = "GET";
    Url url;
    Headers headers;
    std::function<Result<oci::ByteSourcePtr>()> body;  ///< Opened once per attempt; may be empty.
    uint64_t body_bytes = 0;
};

struct Response {
    unsigned status = 0;
    Headers headers;
    Url url;                  ///< Where the answer came from at last.
    oci::ByteSourcePtr body;  ///< Never null. Reading it to its end keeps the connection.
    [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
};

/// The longest document (manifest, token, error) that is read into memory.
inline constexpr size_t kMaxDocumentBytes = 4 << 20;

/// Sends requests and follows redirects of GET and HEAD; keeps a connection per host. It takes
/// every answer for one: an Error means that there was none. One thread.
class HttpClient {
  public:
    HttpClient(const Config& config, const HttpLimits& limits) : config_(config), limits_(limits) {}

    /// An Authorization header goes to the request's own origin only.
    [[nodiscard]] Result<Response> send(Request request);
    [[nodiscard]] const HttpLimits& limits() const { return limits_; }

  private:
    using Pool = std::map<std::string, std::unique_ptr<Connection>>;
    class Body;

    [[nodiscard]] Result<Response> exchange(const Request& request);
    [[nodiscard]] Result<Response> attempt(const Request& request,
                                           std::unique_ptr<Connection> connection);
    [[nodiscard]] Status redirect(Request& request, const Response& response) const;

    const Config& config_;
    HttpLimits limits_;
    std::shared_ptr<Pool> idle_ = std::make_shared<Pool>();
};

/// All of an answer's body: at most kMaxDocumentBytes.
[[nodiscard]] Result<std::string> read_document(Response& response);
/// What an answer that isn't 2xx means, with what the server says about it.
[[nodiscard]] Error status_error(Response& response, std::string_view what);

}  // namespace drupe::imagefs::registry
