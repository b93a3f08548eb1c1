#pragma once

// The control protocol of a monitor: JSON messages, one a packet, on a SOCK_SEQPACKET Unix socket,
// descriptors by SCM_RIGHTS. A client sends requests; each gets one reply with the request's id,
// not necessarily in order. Both sides are hostile to each other: the monitor may have been taken
// over by its guest.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::control {

inline constexpr size_t kMaxMessageBytes = 128 << 10;
inline constexpr size_t kMaxLayers = 128;           ///< Of a disk.
inline constexpr size_t kMaxFds = kMaxLayers + 48;  ///< Of one message; SCM_MAX_FD is 253.
inline constexpr size_t kMaxClients = 64;
inline constexpr size_t kMaxPendingRequests = 64;  ///< Of one client.

enum class Op : uint8_t {
    kStatus,       ///< -> status
    kAttach,       ///< stdio -> nothing. The workload's streams also go to (come from) these
                   ///< descriptors.
    kExec,         ///< start (its session is ignored), stdio -> session, once the program runs; or
                   ///< os_error and error
    kSignal,       ///< session, signal, all
    kResize,       ///< session, rows, columns
    kWait,         ///< session -> exit. An exec's: when it ended and its streams are drained. The
                   ///< workload's: when the exit record is written.
    kKill,         ///< Ends the machine at once: no flush, reason "killed".
    kReleaseDisk,  ///< freeze -> consistent. Freezes the root's file system in the guest, writes
                   ///< the root disk's top out and closes it: the machine doesn't touch it any
                   ///< more, and its guest waits with every access until kReplaceDisk.
    kReplaceDisk,  ///< disk -> consistent. The root disk goes on with these files, of the same
                   ///< size and content.
    kPause,        ///< Answered when no vCPU is in the guest any more. os_error EALREADY: it is
                   ///< paused.
    kResume,       ///< os_error EALREADY: it isn't paused. A kSignal resumes, too.
    kLimits,       ///< limits. Of the workload's cgroup in the guest.
    kSnapshot,     ///< snapshot, flush. Stops the workload in the guest, with flush has the guest
                   ///< write what it has to its root disk, stops the machine, releases that
                   ///< disk as kReleaseDisk does, and begins to write the rest of it into two empty
                   ///< files: all of one moment. Its guest stands still until kReplaceDisk, after a
                   ///< failure too if the status says that the disk is released. os_error EBUSY:
                   ///< another one is still being written.
    kStarted,      ///< Answered once the workload runs, or has run. An error: it won't.
    kSaved,        ///< Answered once the files of the last kSnapshot are whole. An error: they
                   ///< aren't. Of a guest that still stands still they are written at
                   ///< once.
};

/// Which descriptors ride along, in the order stdin, stdout, stderr.
struct Stdio {
    Fd stdin_fd;
    Fd stdout_fd;
    Fd stderr_fd;
};

/// A layered disk's files, in this order: merged index, layers from the lowest up, the top's two.
struct Disk {
    Fd index;
    std::vector<Fd> layers;
    Fd top_data;
    Fd top_meta;
};

/// A snapshot's files, in this order (docs/formats/snapshot.md).
struct Snapshot {
    Fd state;
    Fd memory;
};

struct Request {
    uint64_t id = 0;
    Op op{};
    uint32_t session = protocol::kWorkloadSession;
    protocol::Start start;    // kExec
    uint32_t signal = 0;      // kSignal
    bool all = false;         // kSignal
    uint16_t rows = 0;        // kResize
    uint16_t columns = 0;     // kResize
    Stdio stdio;              // kAttach, kExec
    bool freeze = true;       // kReleaseDisk; without, the disk is as after a loss of power
    Disk disk;                // kReplaceDisk
    protocol::Limits limits;  // kLimits
    Snapshot snapshot;        // kSnapshot
    bool flush = false;       // kSnapshot; without, the disk alone is as after a loss of power
};

/// What a machine is doing: "booting", "starting" (the guest is up), "running", "stopping".
struct MachineStatus {
    std::string state;
    uint64_t guest_faults = 0;
    std::string last_fault;
    std::vector<uint32_t> sessions;  ///< Execs that still run.
    bool paused = false;             ///< Its vCPUs stand still, or are about to.
    bool disk_released = false;      ///< It waits for a kReplaceDisk.
    bool disk_moves = false;         ///< It is being released or replaced.
    bool disk_waits_for_room =
        false;  ///< The host is full; the guest's disk goes on when it isn't.
};

struct ExitStatus {
    uint32_t status = 0;
    uint32_t signal = 0;
    bool oom_killed = false;
};

struct Reply {
    uint64_t id = 0;
    std::string error;     ///< Empty: it worked.
    int32_t os_error = 0;  ///< Of a program that couldn't be started: ENOENT and the like.
    uint32_t session = 0;  // kExec
    /// kReleaseDisk: the guest's file system was frozen; without its help the disk is as after a
    /// loss of power. kReplaceDisk: and it stayed so until now.
    bool consistent = false;
    std::optional<ExitStatus> exit;        // kWait
    std::optional<MachineStatus> machine;  // kStatus
};

/// The descriptors that a request takes along, in order; still the request's.
[[nodiscard]] std::vector<int> fds_of(const Request& request);
/// A packet's text and which descriptors go with it (in order).
[[nodiscard]] std::string encode(const Request& request);
[[nodiscard]] Result<Request> decode_request(std::string_view text, std::vector<Fd> fds);
[[nodiscard]] std::string encode(const Reply& reply);
[[nodiscard]] Result<Reply> decode_reply(std::string_view text);

/// One packet. receive: nullopt at the end of the connection; kLimit if it was longer than allowed.
/// With a non-blocking socket and nothing to read the error's os_errno is EAGAIN.
struct Packet {
    std::string text;
    std::vector<Fd> fds;
};
[[nodiscard]] Status send_packet(int socket, std::string_view text, const std::vector<int>& fds);
[[nodiscard]] Result<std::optional<Packet>> receive_packet(int socket);

}  // namespace drupe::control
