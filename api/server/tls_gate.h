#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::http {

/// PEM files: whose clients are let in, and who we are.
struct TlsFiles {
    std::string ca;
    std::string certificate;
    std::string key;
};

/// Lets TCP clients in that show a certificate of our authority, and hands on what they say in
/// plain: the server behind it sees Unix sockets alone. TLS 1.2 and newer. A thread of its own.
class TlsGate {
  public:
    /// serve is called with the plain end of each connection, on the gate's thread.
    [[nodiscard]] static Result<std::unique_ptr<TlsGate>> make(const TlsFiles& files,
                                                               std::function<void(Fd)> serve);
    virtual ~TlsGate() = default;
    /// Accepts from a listening TCP socket.
    [[nodiscard]] virtual Status listen(Fd socket) = 0;
};

}  // namespace drupe::http
