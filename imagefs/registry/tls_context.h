#pragma once

#include <boost/asio/ssl/context.hpp>

#include "base/result.h"
#include "imagefs/registry/connection.h"

namespace drupe::imagefs::registry {

/// What TLS connections to an authority ("host:port") need: trust and certificates of our own.
[[nodiscard]] Status set_up_tls(boost::asio::ssl::context& context, const std::string& authority,
                                const TlsOptions& options);

}  // namespace drupe::imagefs::registry
