#include "monitor/confine/empty_network.h"

#include <fcntl.h>
#include <sched.h>

#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/fd.h"
#include "base/mutex.h"

namespace drupe::confine {
namespace {

constexpr const char* kOfThisThread = "/proc/thread-self/ns/net";

struct Namespaces {
    Namespaces(Fd our, Fd other) : ours(std::move(our)), empty(std::move(other)) {}
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

/// Made by the first who needs them.
class Both {
  public:
    [[nodiscard]] Result<const Namespaces*> get() {
        const MutexLock lock(mutex_);
        if (!made_) {
            TRY_ASSIGN(Fd ours, open_file(kOfThisThread, O_RDONLY));
            TRY_ASSIGN(Fd empty, make_empty());
            made_.emplace(std::move(ours), std::move(empty));
        }
        return &*made_;
    }

  private:
    Mutex mutex_;
    std::optional<Namespaces> made_ DRUPE_GUARDED_BY(mutex_);
};

}  // namespace

Result<EmptyNetwork> EmptyNetwork::enter() {
    static Both both;
    TRY_ASSIGN(const Namespaces* const namespaces, both.get());
    if (::setns(namespaces->empty.get(), CLONE_NEWNET) < 0)
        return os_error("enter the empty network namespace");
    return EmptyNetwork(namespaces->ours.get());
}

EmptyNetwork::EmptyNetwork(EmptyNetwork&& other) noexcept : back_(std::exchange(other.back_, -1)) {}

EmptyNetwork::~EmptyNetwork() {
    if (back_ >= 0) DRUPE_CHECK(::setns(back_, CLONE_NEWNET) == 0);
}

}  // namespace drupe::confine
