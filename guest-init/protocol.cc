#include "guest-init/protocol.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace drupe::protocol {
namespace {

constexpr size_t kMaxMessageBytes = 4096;  // of an Answer
constexpr size_t kMaxNameBytes = 256;      // host names, users, kernel releases
constexpr int32_t kMaxErrno = 4095;        // MAX_ERRNO of Linux
constexpr uint32_t kMaxUmask = 0777;
constexpr uint32_t kMaxSignal = 64;
constexpr uint32_t kMaxResource = 64;

bool get_bool(Decoder& in) {
    const auto value = in.get<uint8_t>();
    if (value > 1) in.fail();
    return value == 1;
}

template <class T>
void get_zero(Decoder& in) {
    if (in.get<T>() != 0) in.fail();
}

/// Text that becomes a C string later: a NUL would cut it.
std::string get_text(Decoder& in, size_t max) {
    const std::string_view text = in.get_bytes(max);
    if (text.find('\0') != std::string_view::npos) in.fail();
    return std::string(text);
}

std::vector<std::string> get_texts(Decoder& in) {
    auto list = in.get_list(kMaxListItems, kMaxStringBytes);
    const auto has_nul = [](const std::string& s) { return s.find('\0') != std::string::npos; };
    if (std::any_of(list.begin(), list.end(), has_nul)) in.fail();
    return list;
}

bool known(Kind kind) {
    const auto value = static_cast<uint16_t>(kind);
    return (value >= static_cast<uint16_t>(Kind::kHello) &&
            value <= static_cast<uint16_t>(Kind::kHalted)) ||
           (value >= static_cast<uint16_t>(Kind::kWelcome) &&
            value <= static_cast<uint16_t>(Kind::kPrepare));
}

void put(Encoder& out, const FrameHeader& v) {
    out.put(v.length);
    out.put(v.kind);
    out.put(v.reserved);
    out.put(v.id);
}
void get(Decoder& in, FrameHeader& v) {
    v.length = in.get<uint32_t>();
    v.kind = in.get<Kind>();
    get_zero<uint16_t>(in);
    v.id = in.get<uint32_t>();
    if (!known(v.kind)) in.fail();
}

void put(Encoder& out, const Hello& v) {
    out.put(v.version);
    out.put(v.min_version);
    out.put(v.cpus);
    out.put(v.init_started_ns);
    out.put_bytes(v.kernel_release);
}
void get(Decoder& in, Hello& v) {
    v.version = in.get<uint16_t>();
    v.min_version = in.get<uint16_t>();
    v.cpus = in.get<uint32_t>();
    v.init_started_ns = in.get<uint64_t>();
    v.kernel_release = get_text(in, kMaxNameBytes);
    if (v.min_version > v.version) in.fail();
}

void put(Encoder& out, const Welcome& v) {
    out.put(v.version);
}
void get(Decoder& in, Welcome& v) {
    v.version = in.get<uint16_t>();
}

void put(Encoder& out, const Answer& v) {
    out.put(v.error);
    out.put_bytes(std::string_view(v.message).substr(0, kMaxMessageBytes));
}
void get(Decoder& in, Answer& v) {
    v.error = in.get<int32_t>();
    v.message = get_text(in, kMaxMessageBytes);
    if (v.error < 0 || v.error > kMaxErrno) in.fail();
}

void put(Encoder& out, const Root& v) {
    out.put(v.disk);
    out.put(v.read_only);
    out.put(v.discard_changes);
    out.put(v.reserved_bytes);
}
void get(Decoder& in, Root& v) {
    v.disk = in.get<uint8_t>();
    v.read_only = get_bool(in);
    v.discard_changes = get_bool(in);
    v.reserved_bytes = in.get<uint64_t>();
}

void put(Encoder& out, const Identity& v) {
    out.put_bytes(v.host_name);
    out.put_bytes(v.domain_name);
    put_list(out, v.hosts);
    put_list(out, v.resolv_conf);
    out.put_bytes(v.machine_id);
    out.put_bytes(v.entropy);
    out.put(v.realtime_ns);
}
void get(Decoder& in, Identity& v) {
    v.host_name = get_text(in, kMaxNameBytes);
    v.domain_name = get_text(in, kMaxNameBytes);
    v.hosts = get_texts(in);
    v.resolv_conf = get_texts(in);
    v.machine_id = get_text(in, kMaxNameBytes);
    v.entropy = std::string(in.get_bytes(4096));
    v.realtime_ns = in.get<uint64_t>();
    if (v.realtime_ns > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) in.fail();
}

void put(Encoder& out, const Start& v) {
    out.put(v.session);
    put_list(out, v.argv);
    put_list(out, v.env);
    out.put_bytes(v.cwd);
    out.put_bytes(v.user);
    put_list(out, v.groups);
    out.put(v.tty);
    out.put(v.stdin_open);
    out.put(v.rows);
    out.put(v.columns);
    out.put(static_cast<uint32_t>(v.limits.size()));
    for (const ResourceLimit& limit : v.limits) {
        out.put(limit.resource);
        out.put(limit.soft);
        out.put(limit.hard);
    }
    out.put(v.memory_max);
    out.put(v.pids_max);
    out.put(v.umask);
    out.put(v.capabilities);
    out.put(v.init);
    out.put(v.shm_bytes);
    out.put(static_cast<uint32_t>(v.tmpfs.size()));
    for (const TmpfsMount& mount : v.tmpfs) {
        out.put_bytes(mount.path);
        out.put(mount.flags);
        out.put_bytes(mount.options);
    }
    put_list(out, v.sysctls);
    out.put(v.builtin);
    out.put_bytes(v.only_with);
}
void get(Decoder& in, Start& v) {
    v.session = in.get<uint32_t>();
    v.argv = get_texts(in);
    v.env = get_texts(in);
    v.cwd = get_text(in, kMaxStringBytes);
    v.user = get_text(in, 2 * kMaxNameBytes);
    v.groups = get_texts(in);
    v.tty = get_bool(in);
    v.stdin_open = get_bool(in);
    v.rows = in.get<uint16_t>();
    v.columns = in.get<uint16_t>();
    const uint32_t limits = in.get_count(kMaxResource, 20);
    for (uint32_t i = 0; i < limits && in.ok(); ++i) {
        ResourceLimit limit;
        limit.resource = in.get<uint32_t>();
        limit.soft = in.get<uint64_t>();
        limit.hard = in.get<uint64_t>();
        if (limit.resource >= kMaxResource) in.fail();
        v.limits.push_back(limit);
    }
    v.memory_max = in.get<uint64_t>();
    v.pids_max = in.get<uint64_t>();
    v.umask = in.get<uint32_t>();
    v.capabilities = in.get<uint64_t>();
    v.init = get_bool(in);
    v.shm_bytes = in.get<uint64_t>();
    const uint32_t mounts = in.get_count(kMaxTmpfsMounts, 16);
    for (uint32_t i = 0; i < mounts && in.ok(); ++i) {
        TmpfsMount& mount = v.tmpfs.emplace_back();
        mount.path = get_text(in, kMaxStringBytes);
        mount.flags = in.get<uint64_t>();
        mount.options = get_text(in, kMaxStringBytes);
        if (!mount.path.starts_with('/')) in.fail();
    }
    v.sysctls = get_texts(in);
    v.builtin = in.get<Builtin>();
    v.only_with = get_text(in, kMaxStringBytes);
    if (v.session == 0 || v.argv.empty() || v.umask > kMaxUmask) in.fail();
    if (v.builtin > kLastBuiltin) in.fail();
}

void put(Encoder& out, const PathStat& v) {
    out.put_bytes(v.name);
    out.put(v.size);
    out.put(v.mode);
    out.put(v.mtime_s);
    out.put(v.mtime_ns);
    out.put_bytes(v.link_target);
}
void get(Decoder& in, PathStat& v) {
    v.name = get_text(in, kMaxPathStatBytes / 4);
    v.size = in.get<uint64_t>();
    v.mode = in.get<uint32_t>();
    v.mtime_s = in.get<int64_t>();
    v.mtime_ns = in.get<uint32_t>();
    v.link_target = get_text(in, kMaxPathStatBytes / 4);
    if (v.mtime_ns >= 1'000'000'000 || v.mode > 0177777) in.fail();
}

void put(Encoder& out, const ProcessInfo& v) {
    for (const uint32_t number : {v.pid, v.parent, v.group, v.session}) out.put(number);
    out.put(v.foreground_group);
    out.put(v.terminal);
    out.put(v.uid);
    for (const std::string* text : {&v.user, &v.command, &v.arguments})
        out.put_bytes(std::string_view(*text).substr(0, kMaxProcessTextBytes));
    out.put(v.state);
    out.put(v.nice);
    out.put(v.threads);
    for (const uint64_t number :
         {v.cpu_ms, v.started_ms, v.virtual_bytes, v.resident_bytes, v.locked_bytes})
        out.put(number);
}
void get(Decoder& in, ProcessInfo& v) {
    for (uint32_t* number : {&v.pid, &v.parent, &v.group, &v.session}) *number = in.get<uint32_t>();
    v.foreground_group = in.get<int32_t>();
    v.terminal = in.get<uint32_t>();
    v.uid = in.get<uint32_t>();
    for (std::string* text : {&v.user, &v.command, &v.arguments})
        *text = get_text(in, kMaxProcessTextBytes);
    v.state = in.get<uint8_t>();
    v.nice = in.get<int32_t>();
    v.threads = in.get<uint32_t>();
    for (uint64_t* number :
         {&v.cpu_ms, &v.started_ms, &v.virtual_bytes, &v.resident_bytes, &v.locked_bytes})
        *number = in.get<uint64_t>();
}

void put(Encoder& out, const ProcessList& v) {
    out.put(v.uptime_ms);
    out.put(v.realtime_ms);
    out.put(v.memory_bytes);
    out.put(static_cast<uint32_t>(v.processes.size()));
    for (const ProcessInfo& process : v.processes) put(out, process);
}
void get(Decoder& in, ProcessList& v) {
    v.uptime_ms = in.get<uint64_t>();
    v.realtime_ms = in.get<uint64_t>();
    v.memory_bytes = in.get<uint64_t>();
    constexpr size_t kLeastBytes = 89;
    const uint32_t count = in.get_count(kMaxProcesses, kLeastBytes);
    for (uint32_t i = 0; i < count && in.ok(); ++i) get(in, v.processes.emplace_back());
}

void put(Encoder& out, const Usage& v) {
    for (const uint64_t number : {v.memory_bytes, v.inactive_file_bytes, v.memory_max, v.processes,
                                  v.processes_max, v.oom_kills})
        out.put(number);
}
void get(Decoder& in, Usage& v) {
    for (uint64_t* number : {&v.memory_bytes, &v.inactive_file_bytes, &v.memory_max, &v.processes,
                             &v.processes_max, &v.oom_kills})
        *number = in.get<uint64_t>();
}

void put(Encoder& out, const BuiltinError& v) {
    out.put(v.error);
    out.put_bytes(std::string_view(v.message).substr(0, kMaxMessageBytes));
}
void get(Decoder& in, BuiltinError& v) {
    v.error = in.get<int32_t>();
    v.message = get_text(in, kMaxMessageBytes);
    if (v.error < 0 || v.error > kMaxErrno) in.fail();
}

void put(Encoder& out, const Signal& v) {
    out.put(v.session);
    out.put(v.signal);
    out.put(v.all);
}
void get(Decoder& in, Signal& v) {
    v.session = in.get<uint32_t>();
    v.signal = in.get<uint32_t>();
    v.all = get_bool(in);
    if (v.signal > kMaxSignal) in.fail();
}

void put(Encoder& out, const Resize& v) {
    out.put(v.session);
    out.put(v.rows);
    out.put(v.columns);
}
void get(Decoder& in, Resize& v) {
    v.session = in.get<uint32_t>();
    v.rows = in.get<uint16_t>();
    v.columns = in.get<uint16_t>();
}

void put(Encoder& out, const Forget& v) {
    out.put(v.session);
}
void get(Decoder& in, Forget& v) {
    v.session = in.get<uint32_t>();
}

void put(Encoder& out, const Freeze& v) {
    out.put(v.limit_ms);
}
void get(Decoder& in, Freeze& v) {
    v.limit_ms = in.get<uint32_t>();
    if (v.limit_ms == 0) in.fail();
}

void put(Encoder& out, const Limits& v) {
    out.put(v.memory_max);
    out.put(v.pids_max);
}
void get(Decoder& in, Limits& v) {
    v.memory_max = in.get<uint64_t>();
    v.pids_max = in.get<uint64_t>();
}

void put(Encoder& out, const Suspend& v) {
    out.put(v.suspended);
}
void get(Decoder& in, Suspend& v) {
    v.suspended = get_bool(in);
}

void put(Encoder& /*out*/, const Prepare& /*v*/) {}
void get(Decoder& /*in*/, Prepare& /*v*/) {}

void put(Encoder& /*out*/, const Thaw& /*v*/) {}
void get(Decoder& /*in*/, Thaw& /*v*/) {}

void put(Encoder& /*out*/, const Shutdown& /*v*/) {}
void get(Decoder& /*in*/, Shutdown& /*v*/) {}

void put(Encoder& out, const Exited& v) {
    out.put(v.session);
    out.put(v.status);
    out.put(v.signal);
    out.put(v.oom_killed);
}
void get(Decoder& in, Exited& v) {
    v.session = in.get<uint32_t>();
    v.status = in.get<uint8_t>();
    v.signal = in.get<uint8_t>();
    v.oom_killed = get_bool(in);
    if (v.signal > kMaxSignal) in.fail();
}

void put(Encoder& out, const StreamOpen& v) {
    out.put(v.session);
    out.put(v.stream);
    out.put(uint8_t{0});
    out.put(uint16_t{0});
    out.put(v.offset);
}
void get(Decoder& in, StreamOpen& v) {
    v.session = in.get<uint32_t>();
    v.stream = in.get<Stream>();
    get_zero<uint8_t>(in);
    get_zero<uint16_t>(in);
    v.offset = in.get<uint64_t>();
    if (v.stream > Stream::kStderr) in.fail();
}

void put(Encoder& out, const StreamOpened& v) {
    out.put(v.error);
    out.put(uint32_t{0});
    out.put(v.offset);
}
void get(Decoder& in, StreamOpened& v) {
    v.error = in.get<int32_t>();
    get_zero<uint32_t>(in);
    v.offset = in.get<uint64_t>();
    if (v.error < 0 || v.error > kMaxErrno) in.fail();
}

void put(Encoder& out, const StreamFrame& v) {
    out.put(v.kind);
    out.put(uint8_t{0});
    out.put(uint16_t{0});
    out.put(v.length);
}
void get(Decoder& in, StreamFrame& v) {
    v.kind = in.get<StreamKind>();
    get_zero<uint8_t>(in);
    get_zero<uint16_t>(in);
    v.length = in.get<uint32_t>();
    switch (v.kind) {
        case StreamKind::kData:
            if (v.length == 0 || v.length > kMaxStreamData) in.fail();
            return;
        case StreamKind::kAck:
            if (v.length != sizeof(uint64_t)) in.fail();
            return;
        case StreamKind::kEof:
            if (v.length != 0) in.fail();
            return;
    }
    in.fail();
}

}  // namespace

template <class T>
std::string encode(const T& value) {
    Encoder out;
    put(out, value);
    return out.take();
}

template <class T>
std::optional<T> decode(std::string_view payload) {
    Decoder in(payload);
    T value;
    get(in, value);
    if (!in.at_end()) return std::nullopt;
    return value;
}

template <class T>
std::string frame(Kind kind, uint32_t id, const T& value) {
    const std::string payload = encode(value);
    std::string bytes = encode(
        FrameHeader{.length = static_cast<uint32_t>(payload.size()), .kind = kind, .id = id});
    return bytes += payload;
}

Parsed parse_frame(std::string_view bytes, uint32_t max_payload) {
    Parsed parsed;
    if (bytes.size() < kFrameHeaderBytes) return parsed;
    const auto header = decode<FrameHeader>(bytes.substr(0, kFrameHeaderBytes));
    if (!header || header->length > max_payload) {
        parsed.state = Parsed::State::kBroken;
    } else if (bytes.size() - kFrameHeaderBytes >= header->length) {
        parsed.state = Parsed::State::kFrame;
        parsed.header = *header;
        parsed.payload = bytes.substr(kFrameHeaderBytes, header->length);
        parsed.size = kFrameHeaderBytes + header->length;
    }
    return parsed;
}

ParsedStream parse_stream_frame(std::string_view bytes) {
    ParsedStream parsed;
    if (bytes.size() < kStreamFrameBytes) return parsed;
    const auto header = decode<StreamFrame>(bytes.substr(0, kStreamFrameBytes));
    if (!header) {
        parsed.state = Parsed::State::kBroken;
        return parsed;
    }
    bytes.remove_prefix(kStreamFrameBytes);
    if (bytes.size() < header->length) return parsed;
    parsed.state = Parsed::State::kFrame;
    parsed.kind = header->kind;
    parsed.size = kStreamFrameBytes + header->length;
    if (header->kind == StreamKind::kData) parsed.data = bytes.substr(0, header->length);
    if (header->kind == StreamKind::kAck)
        parsed.ack_offset = Decoder(bytes.substr(0, header->length)).get<uint64_t>();
    return parsed;
}

namespace {
void append_header(std::string& out, StreamKind kind, size_t length) {
    out += encode(StreamFrame{.kind = kind, .length = static_cast<uint32_t>(length)});
}
}  // namespace

void append_data(std::string& out, std::string_view data) {
    append_header(out, StreamKind::kData, data.size());
    out += data;
}

void append_ack(std::string& out, uint64_t offset) {
    append_header(out, StreamKind::kAck, sizeof offset);
    Encoder bytes;
    bytes.put(offset);
    out += bytes.bytes();
}

void append_eof(std::string& out) {
    append_header(out, StreamKind::kEof, 0);
}

#define DRUPE_PROTOCOL_VALUE(T)               \
    template std::string encode<T>(const T&); \
    template std::optional<T> decode<T>(std::string_view);
#define DRUPE_PROTOCOL_PAYLOAD(T) \
    DRUPE_PROTOCOL_VALUE(T)       \
    template std::string frame<T>(Kind, uint32_t, const T&);

DRUPE_PROTOCOL_VALUE(FrameHeader)
DRUPE_PROTOCOL_VALUE(StreamOpen)
DRUPE_PROTOCOL_VALUE(StreamOpened)
DRUPE_PROTOCOL_VALUE(StreamFrame)
DRUPE_PROTOCOL_VALUE(PathStat)
DRUPE_PROTOCOL_VALUE(BuiltinError)
DRUPE_PROTOCOL_VALUE(ProcessList)
DRUPE_PROTOCOL_VALUE(Usage)
DRUPE_PROTOCOL_PAYLOAD(Hello)
DRUPE_PROTOCOL_PAYLOAD(Welcome)
DRUPE_PROTOCOL_PAYLOAD(Answer)
DRUPE_PROTOCOL_PAYLOAD(Root)
DRUPE_PROTOCOL_PAYLOAD(Identity)
DRUPE_PROTOCOL_PAYLOAD(Prepare)
DRUPE_PROTOCOL_PAYLOAD(Start)
DRUPE_PROTOCOL_PAYLOAD(Signal)
DRUPE_PROTOCOL_PAYLOAD(Resize)
DRUPE_PROTOCOL_PAYLOAD(Shutdown)
DRUPE_PROTOCOL_PAYLOAD(Forget)
DRUPE_PROTOCOL_PAYLOAD(Freeze)
DRUPE_PROTOCOL_PAYLOAD(Thaw)
DRUPE_PROTOCOL_PAYLOAD(Limits)
DRUPE_PROTOCOL_PAYLOAD(Suspend)
DRUPE_PROTOCOL_PAYLOAD(Exited)

}  // namespace drupe::protocol
