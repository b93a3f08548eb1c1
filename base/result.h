#pragma once

#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>
#include <boost/outcome/try.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace drupe {

/// What kind of failure an Error is: what a caller can decide on. The text is for people.
enum class ErrorCode : uint8_t {
    kInvalid,      ///< The input (file, request, option) is malformed or out of range.
    kNotFound,     ///< A named thing does not exist.
    kConflict,     ///< The thing exists already, is in use, or is in the wrong state.
    kUnsupported,  ///< Well-formed, but not something this host or build can do.
    kCorrupt,      ///< Stored data does not match its checksum or its format.
    kDenied,       ///< Permission denied.
    kIo,           ///< The operating system refused; the text names the call and errno.
    kLimit,        ///< A bound was reached (size, count, time).
    kInternal,     ///< Our own bug.
};

/// A failure that is the host's, the operator's or an input's: what was tried, on what, and why it
/// failed.
struct Error {
    ErrorCode code = ErrorCode::kInternal;
    std::string message;
    int os_errno = 0;  ///< errno of the failed call, 0 if none.

    /// The same error seen from one level up: "what: message".
    [[nodiscard]] Error wrap(std::string_view what) && {
        message.insert(0, std::string(what) + ": ");
        return std::move(*this);
    }
};

/// An error for a failed system call: "WHAT: STRERROR". Reads errno before anything else does.
[[nodiscard]] Error os_error(std::string what);
[[nodiscard]] Error os_error(std::string what, int error_number);

template <class T>
using Result = boost::outcome_v2::basic_result<T, Error, boost::outcome_v2::policy::terminate>;

/// A Result without a value. `return ok();` is success.
using Status = Result<void>;
[[nodiscard]] inline auto ok() {
    return boost::outcome_v2::success();
}

}  // namespace drupe

/// TRY(expr): leave the function with expr's error.  TRY_ASSIGN(auto x, expr): the same, else x =
/// its value.
#define TRY(...) BOOST_OUTCOME_TRYV2(auto&&, __VA_ARGS__)
#define TRY_ASSIGN(decl, ...) BOOST_OUTCOME_TRY(decl, __VA_ARGS__)
