#include "monitor/confine/empty_network.h"

#include <fcntl.h>
#include <sched.h>

#include <system_error>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/fd.h"

namespace drupe::confine {
namespace {

constexpr const char* kOfThisThread = "/proc/thread-self/ns/net";

struct Namespaces {
    Fd ours;
    Fd empty;
};

/// In a thread of its own, which alone moves there.
Result<Fd> make_empty() {
    Result<Fd> made = Error{ErrorCode::kInternal, "not made"};
    try {
        std::thread([&made] {
            made = ::unshare(CLONE_NEWNET) == 0 ? open_file(kOfThisThread, O_RDONLY)
                                                : Result<Fd>(os_error("new network namespace"));
        }).join();
    } catch (const std::system_error& error) {
        return os_error("a thread to make a network namespace", error.code().value());
    }
    return made;
}

Result<Namespaces> open_both() {
    Namespaces both;
    TRY_ASSIGN(both.ours, open_file(kOfThisThread, O_RDONLY));
    TRY_ASSIGN(both.empty, make_empty());
    return both;
}

}  // namespace

Result<EmptyNetwork> EmptyNetwork::enter() {
    static const Result<Namespaces> both = open_both();
    if (!both) return both.error();
    if (::setns(both.value().empty.get(), CLONE_NEWNET) < 0)
        return os_error("enter the empty network namespace");
    return EmptyNetwork(both.value().ours.get());
}

EmptyNetwork::EmptyNetwork(EmptyNetwork&& other) noexcept : back_(std::exchange(other.back_, -1)) {}

EmptyNetwork::~EmptyNetwork() {
    if (back_ >= 0) DRUPE_CHECK(::setns(back_, CLONE_NEWNET) == 0);
}

}  // namespace drupe::confine
