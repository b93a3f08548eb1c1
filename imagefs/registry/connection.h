#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "imagefs/ext4/byte_source.h"
#include "imagefs/registry/headers.h"
#include "imagefs/registry/url.h"

namespace drupe::imagefs::registry {

/// How long the other end may take. Nothing waits for ever, and a drip of bytes isn't a transfer.
struct HttpLimits {
    uint32_t connect_ms = 20'000;  ///< Name, connection and TLS handshake.
    uint32_t head_ms = 60'000;     ///< From the end of a request to the end of the answer's head.
    uint32_t idle_ms = 30'000;     ///< Without a byte of a body.
    uint32_t window_ms = 60'000;   ///< In each such time of a body ...
    uint64_t window_bytes = 16 << 10;         ///< ... at least so much has to move, unless it ends.
    const std::atomic<bool>* stop = nullptr;  ///< Set by another thread: give up, within 0.1 s.
};

/// Whom to trust. The system's certificates always count.
struct TlsOptions {
    bool verify = true;
    /// Folders HOST[:PORT] below these have *.crt (certificates to trust), and pairs of *.cert and
    /// *.key to identify ourselves by, as Docker's /etc/docker/certs.d.
    std::vector<std::string> certificate_dirs;
};

struct RequestHead {
    std::string method;
    std::string target;
    Headers headers;
    uint64_t body_bytes = 0;
};

struct ResponseHead {
    unsigned status = 0;
    Headers headers;
};

/// One HTTP/1.1 connection: send(), read_head(), read_body() to its end, then again. One thread.
class Connection {
  public:
    virtual ~Connection() = default;

    /// kUnsupported: TLS was wanted, and what answers doesn't speak it.
    [[nodiscard]] static Result<std::unique_ptr<Connection>> open(const Url& url,
                                                                  const TlsOptions& tls,
                                                                  const HttpLimits& limits);

    /// body has exactly head.body_bytes; nullptr for none.
    [[nodiscard]] virtual Status send(const RequestHead& head, ByteSource* body) = 0;
    /// without_body: it answers a HEAD request.
    [[nodiscard]] virtual Result<ResponseHead> read_head(bool without_body) = 0;
    /// 0 at the end of the body; an error if the connection ends before it.
    [[nodiscard]] virtual Result<size_t> read_body(std::span<std::byte> out) = 0;
    /// The answer was read to its end, and the server keeps the connection.
    [[nodiscard]] virtual bool reusable() const = 0;
};

}  // namespace drupe::imagefs::registry
