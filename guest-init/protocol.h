#pragma once

// The contract between drupe-vmm and drupe-init: one control connection and one connection a
// stream, over vsock.
//
// Control: the guest connects to kControlPort on the host (CID 2) and says Hello; the host answers
// Welcome with the version both will speak, or hangs up. From then on the host sends orders, each
// with an id of its choice; the guest sends exactly one Answer per order, with the order's id, and
// Exited events on its own (id 0). A frame is a FrameHeader and `length` bytes of payload, all
// little-endian. When the connection is lost the guest goes on and connects again, at once and then
// every 100 ms; it keeps each session, its exit and its unacknowledged output until Forget, and
// announces the exits again after each Welcome. Answers that were under way are lost.
//
// Streams: the host connects to kStreamPort in the guest, once for each stream it wants, and sends
// StreamOpen; the guest answers StreamOpened. Then both sides send stream frames: Data towards the
// reader, Ack (the offset up to which bytes were taken over for good) towards the writer, Eof once
// after the last byte. The guest answers the Eof of a stdin with an Eof of its own, so that the
// host knows that it needn't be sent again. The writer keeps bytes until they are acknowledged, at
// most kStreamWindow of them, so that a lost connection loses nothing: the next one opens the
// stream at the offset it has. A stream has one connection; a newer one replaces it.
//
// Neither side trusts the other: sizes are bounded here, decoding goes through Decoder, and a peer
// that breaks a rule is hung up on.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/codec.h"

namespace drupe::protocol {

inline constexpr uint16_t kVersion = 6;            ///< The newest version this build speaks.
inline constexpr uint16_t kMinVersion = kVersion;  ///< The oldest: both ends are built together.
inline constexpr uint32_t kGuestCid = 3;
inline constexpr uint32_t kHostCid = 2;
inline constexpr uint32_t kControlPort = 1024;
inline constexpr uint32_t kStreamPort = 1025;

inline constexpr uint32_t kMaxOrderBytes = 1 << 20;   ///< Host to guest; argv and env have to fit.
inline constexpr uint32_t kMaxEventBytes = 16 << 10;  ///< Guest to host.
inline constexpr uint32_t kMaxSessions = 256;  ///< Not yet forgotten, the workload's included.
inline constexpr uint32_t kStreamWindow = 256 << 10;  ///< Unacknowledged bytes of a stream.
inline constexpr uint32_t kMaxStreamData = 64 << 10;  ///< Payload of one Data frame.
inline constexpr uint32_t kMaxListItems = 4096;
inline constexpr uint32_t kMaxStringBytes = 128 << 10;

/// The session of the container's own workload. Others are execs, numbered by the host.
inline constexpr uint32_t kWorkloadSession = 1;

enum class Kind : uint16_t {
    // Guest to host.
    kHello = 1,
    kAnswer = 2,
    kExited = 3,
    kHalted = 4,  ///< All is flushed: the machine may be switched off. The last frame there is.
    // Host to guest.
    kWelcome = 64,
    kRoot = 65,
    kIdentity = 66,
    kStart = 67,
    kSignal = 68,
    kResize = 69,
    kShutdown = 70,
    kForget = 71,
    kFreeze = 72,
    kThaw = 73,
    kLimits = 74,
    kSuspend = 75,
    kPrepare = 76,
};

struct FrameHeader {
    uint32_t length = 0;  ///< Of the payload.
    Kind kind{};
    uint16_t reserved = 0;  ///< Zero.
    uint32_t id = 0;        ///< The order's; 0 in events.
};
inline constexpr size_t kFrameHeaderBytes = 12;

/// First words of the guest. Times are CLOCK_BOOTTIME nanoseconds in the guest.
struct Hello {
    uint16_t version = kVersion;
    uint16_t min_version = kMinVersion;
    uint32_t cpus = 0;
    uint64_t init_started_ns = 0;
    std::string kernel_release;
};
struct Welcome {
    uint16_t version = kVersion;
};

/// The answer to an order. error is an errno value of Linux, 0 for success; a Start that can't
/// execute its program answers ENOENT (exit code 127) or EACCES, ENOEXEC, EISDIR (126).
struct Answer {
    int32_t error = 0;
    std::string message;
};

/// Do beforehand what every container needs and none is told by: for a template. Otherwise Root
/// does it.
struct Prepare {};

/// Mount the root disk. Its slot has had its capacity set before this order is sent.
struct Root {
    uint8_t disk = 0;  ///< Index of the virtio-blk slot: 0 is the first.
    bool read_only = false;
    bool discard_changes = false;  ///< Nothing written needs to survive: skip the flush at the end.
    /// What nobody, root included, may have of the file system's free bytes: writing more fails
    /// with ENOSPC. 0: no limit.
    uint64_t reserved_bytes = 0;
};

/// Who this machine is from now on.
struct Identity {
    std::string host_name;
    std::string domain_name;
    std::vector<std::string> hosts;  ///< Further lines of /etc/hosts, "ADDRESS NAME...".
    std::vector<std::string>
        resolv_conf;           ///< Lines of /etc/resolv.conf; none: a file without servers.
    std::string machine_id;    ///< 32 hex digits.
    std::string entropy;       ///< For the kernel's pool; at least 32 bytes.
    uint64_t realtime_ns = 0;  ///< CLOCK_REALTIME to set; 0: leave it.
};

/// What drupe-init's own process does in the container's root instead of executing a program, as
/// root. argv are its arguments (builtin.h). It exits with 0, or with 1 and a BuiltinError as its
/// standard error.
enum class Builtin : uint8_t {
    kNone = 0,
    kHold = 1,       ///< Reads standard input to its end: a machine's workload that keeps it up.
    kStat = 2,       ///< PATH: writes a PathStat.
    kPack = 3,       ///< PATH: writes a tar, whose top is the path's base name.
    kUnpack = 4,     ///< PATH [keep-owner] [overwrite]: reads a tar, into a folder that exists.
    kProcesses = 5,  ///< Writes a ProcessList of the container's processes, itself left out.
    kUsage = 6,      ///< Writes a Usage.
};

inline constexpr Builtin kLastBuiltin = Builtin::kUsage;

struct ResourceLimit {
    uint32_t resource = 0;  ///< RLIMIT_*.
    uint64_t soft = 0;
    uint64_t hard = 0;
};

/// A tmpfs of the workload's own.
struct TmpfsMount {
    std::string path;    ///< Absolute; made if missing.
    uint64_t flags = 0;  ///< MS_* of Linux.
    std::string
        options;  ///< "size=65536,mode=1777". Without a mode: that of the directory, or 1777.
};
inline constexpr uint32_t kMaxTmpfsMounts = 128;
inline constexpr uint64_t kAllCapabilities = UINT64_MAX;

/// Start the workload (kWorkloadSession, once) or an exec beside it. EEXIST: the session is there
/// already; EAGAIN: kMaxSessions are.
struct Start {
    uint32_t session = kWorkloadSession;
    std::vector<std::string> argv;  ///< argv[0] is looked up in env's PATH; at least one.
    std::vector<std::string> env;   ///< "NAME=value".
    std::string cwd;                ///< Made if missing (the workload's only); empty is "/".
    std::string user;               ///< As in an image: "", "name", "uid", "name:group", "uid:gid".
    std::vector<std::string> groups;  ///< Supplementary, by name or number.
    bool tty = false;
    bool stdin_open = false;  ///< Else the program reads from /dev/null.
    uint16_t rows = 0;
    uint16_t columns = 0;
    std::vector<ResourceLimit> limits;
    uint64_t memory_max =
        0;                  ///< Bytes, of the workload's cgroup; 0: no limit. The workload's only.
    uint64_t pids_max = 0;  ///< The same for processes.
    uint32_t umask = 022;
    /// What the program and all it starts may ever have: bit N is capability N of capabilities(7).
    /// Root has them at once.
    uint64_t capabilities = kAllCapabilities;
    bool init = false;       ///< drupe-init forks the workload from its PID 1, and reaps there.
    uint64_t shm_bytes = 0;  ///< Of /dev/shm; 0: as it is. The workload's only, as what follows.
    std::vector<TmpfsMount> tmpfs;     ///< Mounted in this order.
    std::vector<std::string> sysctls;  ///< "PATH=VALUE", the path below /proc/sys.
    Builtin builtin = Builtin::kNone;  ///< With one: user, cwd and tty aren't heeded.
    /// A path of the container's root. ENOENT, before anything is made, if there is none. Empty:
    /// no matter. The monitor's own; no client names one.
    std::string only_with;
};

/// What is at a path of the container's.
struct PathStat {
    std::string name;   ///< The path's base name; "/" for the root.
    uint64_t size = 0;  ///< Bytes, as stat(2) has them.
    uint32_t mode = 0;  ///< st_mode of Linux, the type included.
    int64_t mtime_s = 0;
    uint32_t mtime_ns = 0;
    std::string link_target;  ///< A symbolic link's end, from the container's root; else empty.
};

/// A process as /proc/PID has it, but for its texts cut to size.
struct ProcessInfo {
    uint32_t pid = 0;  ///< In the container's PID namespace, as parent, group and session.
    uint32_t parent = 0;
    uint32_t group = 0;
    uint32_t session = 0;
    int32_t foreground_group = -1;  ///< Of its terminal.
    uint32_t terminal = 0;          ///< Device number; 0: none.
    uint32_t uid = 0;               ///< Effective.
    std::string user;               ///< Its name in the container's /etc/passwd; else empty.
    std::string command;            ///< comm
    std::string arguments;          ///< Separated by spaces; empty: of a zombie, say.
    uint8_t state = '?';            ///< A letter.
    int32_t nice = 0;
    uint32_t threads = 0;
    uint64_t cpu_ms = 0;      ///< User and system.
    uint64_t started_ms = 0;  ///< Since boot.
    uint64_t virtual_bytes = 0;
    uint64_t resident_bytes = 0;
    uint64_t locked_bytes = 0;
};
struct ProcessList {
    uint64_t uptime_ms = 0;
    uint64_t realtime_ms = 0;
    uint64_t memory_bytes = 0;  ///< Of the machine.
    std::vector<ProcessInfo> processes;
};
inline constexpr uint32_t kMaxProcesses = 8192;
inline constexpr size_t kMaxProcessTextBytes = 4096;
inline constexpr size_t kMaxProcessListBytes = 4 << 20;  ///< Those that don't fit are left out.

/// What the container's cgroup in the guest says. A limit of 0 is none.
struct Usage {
    uint64_t memory_bytes = 0;
    uint64_t inactive_file_bytes = 0;  ///< Page cache that can be given back: not the working set.
    uint64_t memory_max = 0;
    uint64_t processes = 0;  ///< And threads.
    uint64_t processes_max = 0;
    uint64_t oom_kills = 0;
};

/// Why a builtin failed; for people, and an errno value of Linux (EBADMSG: the tar is none).
struct BuiltinError {
    int32_t error = 0;
    std::string message;
};
inline constexpr size_t kMaxBuiltinErrorBytes = 8 << 10;
inline constexpr size_t kMaxPathStatBytes = 64 << 10;

struct Signal {
    uint32_t session = 0;
    uint32_t signal = 0;
    bool all = false;  ///< To every process of the session's group, not just its first.
};
struct Resize {
    uint32_t session = 0;
    uint16_t rows = 0;
    uint16_t columns = 0;
};
/// The host has the exit and all the output it wants of an exited session: frees it (EBUSY if its
/// process runs).
struct Forget {
    uint32_t session = 0;
};
/// Writes the root's file system out and lets nobody write to it until Thaw (FIFREEZE): what its
/// disk then holds needs no recovery. While it is frozen no program can be started (EBUSY). The
/// guest thaws by itself after limit_ms, so that a host that dies doesn't hold it for ever.
/// EINVAL: no root. EBUSY: it is frozen already. EOPNOTSUPP: the file system can't.
struct Freeze {
    uint32_t limit_ms = 0;
};
/// Changes the limits of the workload's cgroup. 0: none. ESRCH: there is no workload.
struct Limits {
    uint64_t memory_max = 0;
    uint64_t pids_max = 0;
};
/// The container's processes stand still, or go on (cgroup freezer): so that after a snapshot none
/// of them runs before the machine knows who it is. Answered when all of them do; drupe-init itself
/// never stops. ESRCH: there is no workload. EBUSY: some of them couldn't be stopped in time, and
/// all go on.
struct Suspend {
    bool suspended = false;
};
/// ETIME: the limit was over before, so writes may have happened since.
struct Thaw {};
/// Ends the machine: what still runs is killed, files are flushed, then Halted.
struct Shutdown {};

/// A session's first process has ended. Its streams end with Eof on their own. Comes again after a
/// new connection.
struct Exited {
    uint32_t session = 0;
    uint8_t status = 0;       ///< Its exit status, or 128 + signal.
    uint8_t signal = 0;       ///< 0 if it exited by itself.
    bool oom_killed = false;  ///< The cgroup's memory limit killed something in it.
};

enum class Stream : uint8_t { kStdin = 0, kStdout = 1, kStderr = 2 };  // a TTY's output is kStdout

struct StreamOpen {
    uint32_t session = 0;
    Stream stream{};
    uint64_t offset =
        0;  ///< Output: the first byte the host lacks. Input: the first byte it still has.
};
struct StreamOpened {
    int32_t error =
        0;  ///< ENOENT: no such session or stream. ERANGE: bytes before the offset are gone.
    uint64_t offset =
        0;  ///< Where the data that follows starts. Input: the first byte the guest lacks.
};

enum class StreamKind : uint8_t { kData = 1, kAck = 2, kEof = 3 };
struct StreamFrame {
    StreamKind kind{};
    uint32_t length =
        0;  ///< Of the payload: Data 1 to kMaxStreamData, Ack 8 (the offset, u64), Eof 0.
};
inline constexpr size_t kStreamOpenBytes = 16;
inline constexpr size_t kStreamOpenedBytes = 16;
inline constexpr size_t kStreamFrameBytes = 8;

// encode() appends a payload. decode() takes a whole payload; nullopt if it isn't exactly one
// well-formed value. The functions are in protocol.cc, compiled into both programs.
template <class T>
[[nodiscard]] std::string encode(const T& value);
template <class T>
[[nodiscard]] std::optional<T> decode(std::string_view payload);

/// Header and payload in one buffer.
template <class T>
[[nodiscard]] std::string frame(Kind kind, uint32_t id, const T& value);

/// What stands at the beginning of received bytes.
struct Parsed {
    enum class State : uint8_t { kIncomplete, kFrame, kBroken };
    State state = State::kIncomplete;
    FrameHeader header;        ///< kFrame only, as the next two.
    std::string_view payload;  ///< Points into the input.
    size_t size = 0;           ///< Of header and payload.
};
/// Broken: an unknown kind, or more payload than max_payload.
[[nodiscard]] Parsed parse_frame(std::string_view bytes, uint32_t max_payload);

struct ParsedStream {
    Parsed::State state = Parsed::State::kIncomplete;
    StreamKind kind{};
    std::string_view data;    ///< kData's bytes.
    uint64_t ack_offset = 0;  ///< kAck's.
    size_t size = 0;
};
[[nodiscard]] ParsedStream parse_stream_frame(std::string_view bytes);
/// Appends a frame to out. data holds 1 to kMaxStreamData bytes.
void append_data(std::string& out, std::string_view data);
void append_ack(std::string& out, uint64_t offset);
void append_eof(std::string& out);

}  // namespace drupe::protocol
