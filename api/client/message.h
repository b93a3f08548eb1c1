#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace drupe::client {

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// Gets the next bytes of a body. 0: that was all.
using BodySource = std::function<Result<size_t>(std::span<std::byte> out)>;
/// Takes the next bytes of a body. An error ends the request with that error.
using BodySink = std::function<Status(std::string_view bytes)>;

struct Request {
    std::string method;
    std::string path;  ///< As it goes onto the wire: escape() what is somebody else's.
    Pairs query;       ///< Not yet escaped.
    Pairs headers;
    std::string body;
    BodySource source;  ///< Instead of body: sent in chunks, as it comes.
};

/// The beginning of an answer.
struct Head {
    unsigned status = 0;
    Pairs headers;  ///< Names in lower case.

    /// Empty if it isn't there.
    [[nodiscard]] std::string header(std::string_view lower_name) const;
};

struct Response {
    Head head;
    std::string body;
};

/// Percent-encoded for one segment of a path or for a query: only unreserved characters stay.
[[nodiscard]] std::string escape(std::string_view text);

/// Path and query.
[[nodiscard]] std::string target_of(const Request& request);

/// What the daemon said with a status from 300 on: its {"message"}, or the status if there is none.
/// 400 kInvalid, 401 and 403 kDenied, 404 kNotFound, 409 kConflict, 413 and 429 kLimit, 501
/// kUnsupported, others kInternal. Control characters of the message become '?': it goes to a
/// terminal.
[[nodiscard]] Error error_of(unsigned status, std::string_view body);

}  // namespace drupe::client
