#include "monitor/input_pump.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "monitor/output_hub.h"

namespace drupe {

Status InputPump::attach(Fd fd, bool ends_input) {
    TRY(prepare_stream_fd(fd.get()));
    if (clients_.size() >= kMaxClients)
        return Error{ErrorCode::kLimit, "too many clients are attached"};
    clients_.push_back({std::move(fd), ends_input, nullptr});
    watch_clients();
    return ok();
}

void InputPump::open(std::unique_ptr<agent::InputStream> stream) {
    stream_ = std::move(stream);
    watch_clients();
}

void InputPump::on_room() {
    if (flush()) watch_clients();
}

void InputPump::stop() {
    clients_.clear();
    pending_.clear();
}

/// True if everything that was read has been accepted.
bool InputPump::flush() {
    if (!pending_.empty()) pending_.erase(0, stream_->write(pending_));
    if (!pending_.empty()) {
        for (Client& client : clients_) client.watch.reset();
        return false;
    }
    if (end_pending_) {
        stream_->close();
        clients_.clear();
    }
    return true;
}

void InputPump::watch_clients() {
    if (stream_ == nullptr || !pending_.empty()) return;
    for (auto it = clients_.begin(); it != clients_.end(); ++it) {
        if (it->watch == nullptr)
            it->watch = loop_.on_readable(it->fd.get(), [this, it] { on_readable(it); });
    }
}

void InputPump::on_readable(std::list<Client>::iterator client) {
    std::array<char, 65536> buffer;
    const ssize_t n = ::read(client->fd.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) {
        end_pending_ = end_pending_ || client->ends_input;
        clients_.erase(client);
    } else {
        pending_.assign(buffer.data(), static_cast<size_t>(n));
    }
    (void)flush();  // what is left goes with on_room()
}

}  // namespace drupe
