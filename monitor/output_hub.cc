#include "monitor/output_hub.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace drupe {

Status prepare_stream_fd(int fd) {
    struct stat stat {};
    if (::fstat(fd, &stat) < 0) return os_error("stat a stream's descriptor");
    if (!S_ISFIFO(stat.st_mode) && !S_ISSOCK(stat.st_mode))
        return Error{ErrorCode::kInvalid, "a stream's descriptor must be a pipe or a socket"};
    return set_nonblocking(fd, true);
}

OutputHub::OutputHub(EventLoop& loop, protocol::Stream stream, JsonLog* log,
                     std::function<void()> on_room)
    : loop_(loop), stream_(stream), log_(log), on_room_(std::move(on_room)) {}

Status OutputHub::attach(Fd fd) {
    TRY(prepare_stream_fd(fd.get()));
    if (clients_.size() >= kMaxClients) {
        return Error{ErrorCode::kLimit,
                     "at most " + std::to_string(kMaxClients) + " clients can be attached"};
    }
    if (ended_) return ok();  // closes it: the reader sees the end
    clients_.push_back({std::move(fd), {}, nullptr});
    return ok();
}

bool OutputHub::offer(std::string_view bytes) {
    if (has_pending()) return false;
    if (log_ != nullptr) log_->write(stream_, bytes);
    for (auto it = clients_.begin(); it != clients_.end();) send(it++, bytes);
    return true;
}

void OutputHub::end(std::function<void()> on_drained) {
    ended_ = true;
    on_drained_ = std::move(on_drained);
    if (log_ != nullptr) log_->finish(stream_);
    clients_.remove_if([](const Client& client) { return client.pending.empty(); });
    after_progress();
}

void OutputHub::send(Clients::iterator client, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(client->fd.get(), bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) return drop(client);
        bytes.remove_prefix(static_cast<size_t>(n));
    }
    client->pending.assign(bytes);
    if (client->pending.empty()) {
        client->watch.reset();
    } else if (client->watch == nullptr) {
        client->watch =
            loop_.on_writable(client->fd.get(), [this, client] { on_writable(client); });
    }
}

void OutputHub::on_writable(Clients::iterator client) {
    send(client, std::exchange(client->pending, {}));  // may drop it
    if (ended_) clients_.remove_if([](const Client& other) { return other.pending.empty(); });
    after_progress();
}

void OutputHub::drop(Clients::iterator client) {
    clients_.erase(client);
}

void OutputHub::after_progress() {
    if (has_pending()) return;
    if (!ended_) return on_room_();
    if (on_drained_) std::exchange(on_drained_, nullptr)();
}

bool OutputHub::has_pending() const {
    return std::any_of(clients_.begin(), clients_.end(),
                       [](const Client& client) { return !client.pending.empty(); });
}

}  // namespace drupe
