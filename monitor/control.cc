#include "monitor/control.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/json_reader.h"
#include "monitor/config_json.h"

namespace drupe::control {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 15> kOpNames{
    "status",       "attach", "exec",   "signal", "resize",   "wait",    "kill", "release_disk",
    "replace_disk", "pause",  "resume", "limits", "snapshot", "started", "saved"};

Result<Op> op_from(const std::string& name) {
    for (size_t i = 0; i < kOpNames.size(); ++i)
        if (name == kOpNames[i]) return static_cast<Op>(i);
    return Error{ErrorCode::kInvalid, "unknown operation \"" + name.substr(0, 32) + "\""};
}

/// Hands the packet's descriptors out in the order of Stdio's members; as many as were announced.
Status take_fds(const json& value, std::vector<Fd> fds, Stdio& stdio) {
    JsonReader in(value);
    bool with_stdin = false;
    bool with_stdout = false;
    bool with_stderr = false;
    in.get("stdin", with_stdin);
    in.get("stdout", with_stdout);
    in.get("stderr", with_stderr);
    TRY(in.status());
    size_t next = 0;
    const auto take = [&](bool wanted, Fd& out) {
        if (wanted && next < fds.size()) out = std::move(fds[next]);
        next += wanted ? 1U : 0U;
    };
    take(with_stdin, stdio.stdin_fd);
    take(with_stdout, stdio.stdout_fd);
    take(with_stderr, stdio.stderr_fd);
    if (next != fds.size())
        return Error{ErrorCode::kInvalid, "the message came with other descriptors than it names"};
    return ok();
}

/// A disk's files; all the packet's descriptors.
Status take_disk(size_t layers, std::vector<Fd> fds, Disk& disk) {
    if (layers == 0 || layers > kMaxLayers || fds.size() != layers + 3)
        return Error{ErrorCode::kInvalid,
                     "the message came with other descriptors than a disk of " +
                         std::to_string(layers) + " layers has"};
    disk.top_meta = std::move(fds.back());
    fds.pop_back();
    disk.top_data = std::move(fds.back());
    fds.pop_back();
    disk.index = std::move(fds.front());
    fds.erase(fds.begin());
    disk.layers = std::move(fds);
    return ok();
}

json machine_to_json(const MachineStatus& status) {
    return {{"state", status.state},           {"guest_faults", status.guest_faults},
            {"last_fault", status.last_fault}, {"sessions", status.sessions},
            {"paused", status.paused},         {"disk_released", status.disk_released},
            {"disk_moves", status.disk_moves}, {"disk_waits_for_room", status.disk_waits_for_room}};
}

Status machine_from_json(const json& value, MachineStatus& status) {
    JsonReader in(value, "machine");
    in.get("state", status.state);
    in.get("guest_faults", status.guest_faults);
    in.get("last_fault", status.last_fault);
    in.get_list("sessions", status.sessions, protocol::kMaxSessions);
    in.get("paused", status.paused);
    in.get("disk_released", status.disk_released);
    in.get("disk_moves", status.disk_moves);
    in.get("disk_waits_for_room", status.disk_waits_for_room);
    return in.status();
}

Status exit_from_json(const json& value, ExitStatus& status) {
    JsonReader in(value, "exit");
    in.get("status", status.status);
    in.get("signal", status.signal);
    in.get("oom_killed", status.oom_killed);
    if (status.status > 255) in.fail("status");
    return in.status();
}

}  // namespace

std::string encode(const Request& request) {
    json value{{"id", request.id},
               {"op", kOpNames[static_cast<size_t>(request.op)]},
               {"session", request.session},
               {"stdin", request.stdio.stdin_fd.valid()},
               {"stdout", request.stdio.stdout_fd.valid()},
               {"stderr", request.stdio.stderr_fd.valid()}};
    if (request.op == Op::kExec) value["start"] = start_to_json(request.start);
    if (request.op == Op::kSignal) {
        value["signal"] = request.signal;
        value["all"] = request.all;
    }
    if (request.op == Op::kResize) {
        value["rows"] = request.rows;
        value["columns"] = request.columns;
    }
    if (request.op == Op::kLimits) {
        value["memory_max"] = request.limits.memory_max;
        value["pids_max"] = request.limits.pids_max;
    }
    if (request.op == Op::kReleaseDisk) value["freeze"] = request.freeze;
    if (request.op == Op::kSnapshot) value["flush"] = request.flush;
    if (request.op == Op::kReplaceDisk) value["layers"] = request.disk.layers.size();
    return dump_json(value);
}

std::vector<int> fds_of(const Request& request) {
    std::vector<int> fds;
    if (request.op == Op::kReplaceDisk) {
        fds.push_back(request.disk.index.get());
        for (const Fd& layer : request.disk.layers) fds.push_back(layer.get());
        fds.push_back(request.disk.top_data.get());
        fds.push_back(request.disk.top_meta.get());
        return fds;
    }
    if (request.op == Op::kSnapshot)
        return {request.snapshot.state.get(), request.snapshot.memory.get()};
    for (const Fd* fd :
         {&request.stdio.stdin_fd, &request.stdio.stdout_fd, &request.stdio.stderr_fd})
        if (fd->valid()) fds.push_back(fd->get());
    return fds;
}

Result<Request> decode_request(std::string_view text, std::vector<Fd> fds) {
    TRY_ASSIGN(const json value, parse_json(text));
    Request request;
    std::string op;
    JsonReader in(value);
    in.get("id", request.id);
    in.get("op", op);
    in.get("session", request.session);
    in.get("signal", request.signal);
    in.get("all", request.all);
    in.get("rows", request.rows);
    in.get("columns", request.columns);
    if (value.contains("freeze")) in.get("freeze", request.freeze);
    if (value.contains("flush")) in.get("flush", request.flush);
    in.get("memory_max", request.limits.memory_max);
    in.get("pids_max", request.limits.pids_max);
    uint32_t layers = 0;
    in.get("layers", layers);
    const json* start = in.object("start");
    TRY(in.status());
    TRY_ASSIGN(request.op, op_from(op));
    if (request.op == Op::kReplaceDisk) {
        TRY(take_disk(layers, std::move(fds), request.disk));
        return request;
    }
    if (request.op == Op::kSnapshot) {
        if (fds.size() != 2)
            return Error{ErrorCode::kInvalid, "a snapshot needs two files, and came with others"};
        request.snapshot = {std::move(fds[0]), std::move(fds[1])};
        return request;
    }
    TRY(take_fds(value, std::move(fds), request.stdio));
    if (request.op == Op::kExec) {
        if (start == nullptr) return Error{ErrorCode::kInvalid, "exec without \"start\""};
        TRY(start_from_json(*start, request.start));
    }
    if (request.op == Op::kSignal && (request.signal == 0 || request.signal > 64))
        return Error{ErrorCode::kInvalid, "no such signal: " + std::to_string(request.signal)};
    return request;
}

std::string encode(const Reply& reply) {
    json value{{"id", reply.id}};
    if (!reply.error.empty()) value["error"] = reply.error;
    if (reply.os_error != 0) value["os_error"] = reply.os_error;
    if (reply.session != 0) value["session"] = reply.session;
    if (reply.consistent) value["consistent"] = true;
    if (reply.exit) {
        value["exit"] = {{"status", reply.exit->status},
                         {"signal", reply.exit->signal},
                         {"oom_killed", reply.exit->oom_killed}};
    }
    if (reply.machine) value["machine"] = machine_to_json(*reply.machine);
    return dump_json(value);
}

Result<Reply> decode_reply(std::string_view text) {
    TRY_ASSIGN(const json value, parse_json(text));
    Reply reply;
    JsonReader in(value);
    in.get("id", reply.id);
    in.get("error", reply.error);
    in.get("os_error", reply.os_error);
    in.get("session", reply.session);
    in.get("consistent", reply.consistent);
    const json* exit = in.object("exit");
    const json* machine = in.object("machine");
    TRY(in.status());
    if (exit != nullptr) {
        TRY(exit_from_json(*exit, reply.exit.emplace()));
    }
    if (machine != nullptr) {
        TRY(machine_from_json(*machine, reply.machine.emplace()));
    }
    return reply;
}

Status send_packet(int socket, std::string_view text, const std::vector<int>& fds) {
    if (text.size() > kMaxMessageBytes || fds.size() > kMaxFds) {
        return Error{ErrorCode::kLimit, "the message is larger than " +
                                            std::to_string(kMaxMessageBytes) +
                                            " bytes: shorten the command or its environment"};
    }
    iovec data{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> space{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = space.data();
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
        std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
    }
    ssize_t sent = 0;
    do {
        sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return os_error("send to the control socket");
    return ok();
}

Result<std::optional<Packet>> receive_packet(int socket) {
    Packet packet;
    // Touched only as far as a message goes: most are short.
    const auto buffer = std::make_unique_for_overwrite<char[]>(kMaxMessageBytes);
    iovec data{buffer.get(), kMaxMessageBytes};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> space{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = space.data();
    message.msg_controllen = space.size();
    ssize_t size = 0;
    do {
        size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size < 0 && errno == ECONNRESET) return std::optional<Packet>();
    if (size < 0) return os_error("receive from the control socket");
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            packet.fds.emplace_back(fd);
        }
    }
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return Error{ErrorCode::kLimit, "a control message is too large"};
    if (size == 0) return std::optional<Packet>();
    packet.text.assign(buffer.get(), static_cast<size_t>(size));
    return std::optional<Packet>(std::move(packet));
}

}  // namespace drupe::control
