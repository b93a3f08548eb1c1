#include "monitor/assignment.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "monitor/control.h"

namespace drupe {
namespace {

constexpr char kConfirmed = 'y';

/// Gives the numbers in a configuration the descriptors that came with it.
Status take_descriptors(MonitorConfig& config, std::vector<Fd>& fds) {
    const Error wrong{ErrorCode::kInvalid,
                      "an assignment came with other descriptors than it names"};
    size_t named = 0;
    bool good = true;
    for_each_descriptor(config, [&](int& fd) {
        good = good && static_cast<size_t>(fd) == named && named < fds.size();
        ++named;
    });
    if (!good || (fds.size() != named && fds.size() != named + 1)) return wrong;
    for_each_descriptor(config, [&](int& fd) { fd = fds[static_cast<size_t>(fd)].release(); });
    return ok();
}

}  // namespace

Status send_assignment(int socket, const MonitorConfig& config, int messages) {
    MonitorConfig sent = config;
    sent.kernel_fd = sent.initrd_fd = -1;  // it has booted
    std::vector<int> fds;
    for_each_descriptor(sent, [&](int& fd) {
        fds.push_back(fd);
        fd = static_cast<int>(fds.size() - 1);
    });
    if (messages >= 0) fds.push_back(messages);
    return control::send_packet(socket, to_json(sent), fds);
}

Result<std::optional<Assignment>> receive_assignment(int socket) {
    TRY_ASSIGN(auto packet, control::receive_packet(socket));
    if (!packet) return std::optional<Assignment>();
    Assignment assignment;
    TRY_ASSIGN(assignment.config, parse_monitor_config(packet->text));
    TRY(take_descriptors(assignment.config, packet->fds));
    if (!packet->fds.empty()) assignment.messages = std::move(packet->fds.back());
    return std::optional(std::move(assignment));
}

Status confirm_assignment(int socket) {
    if (::send(socket, &kConfirmed, 1, MSG_NOSIGNAL) != 1) return os_error("confirm an assignment");
    return ok();
}

Status await_confirmation(int socket, int limit_ms) {
    pollfd state{socket, POLLIN, 0};
    int ready = 0;
    do {
        ready = ::poll(&state, 1, limit_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) return Error{ErrorCode::kLimit, "a machine doesn't take its container in"};
    char answer = 0;
    if (::recv(socket, &answer, 1, 0) != 1 || answer != kConfirmed)
        return Error{ErrorCode::kIo, "a machine ended instead of taking its container in"};
    return ok();
}

}  // namespace drupe
