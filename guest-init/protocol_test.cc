#include "guest-init/protocol.h"

#include <gtest/gtest.h>

namespace drupe::protocol {
namespace {

Start full_start() {
    Start start;
    start.session = 7;
    start.argv = {"sh", "-c", "echo hi"};
    start.env = {"PATH=/bin", "A="};
    start.cwd = "/work";
    start.user = "1000:users";
    start.groups = {"audio", "44"};
    start.tty = true;
    start.stdin_open = true;
    start.rows = 24;
    start.columns = 80;
    start.limits = {{7, 1024, 4096}};
    start.memory_max = 1 << 26;
    start.pids_max = 100;
    start.umask = 077;
    start.capabilities = 0x5;
    start.init = true;
    start.shm_bytes = 1 << 20;
    start.tmpfs = {{"/run", 6, "size=65536"}};
    start.sysctls = {"kernel/panic=3"};
    start.builtin = Builtin::kUnpack;
    start.only_with = "/etc/hooks";
    return start;
}

TEST(Protocol, StartSurvivesTheWire) {
    const Start start = full_start();

    const auto copy = decode<Start>(encode(start));

    ASSERT_TRUE(copy);
    EXPECT_EQ(copy->session, 7U);
    EXPECT_EQ(copy->argv, start.argv);
    EXPECT_EQ(copy->env, start.env);
    EXPECT_EQ(copy->cwd, "/work");
    EXPECT_EQ(copy->user, "1000:users");
    EXPECT_EQ(copy->groups, start.groups);
    EXPECT_TRUE(copy->tty);
    EXPECT_TRUE(copy->stdin_open);
    EXPECT_EQ(copy->rows, 24);
    EXPECT_EQ(copy->columns, 80);
    ASSERT_EQ(copy->limits.size(), 1U);
    EXPECT_EQ(copy->limits[0].hard, 4096U);
    EXPECT_EQ(copy->memory_max, start.memory_max);
    EXPECT_EQ(copy->pids_max, 100U);
    EXPECT_EQ(copy->umask, 077U);
    EXPECT_EQ(copy->capabilities, 5U);
    EXPECT_TRUE(copy->init);
    EXPECT_EQ(copy->shm_bytes, 1U << 20);
    ASSERT_EQ(copy->tmpfs.size(), 1U);
    EXPECT_EQ(copy->tmpfs[0].path, "/run");
    EXPECT_EQ(copy->tmpfs[0].flags, 6U);
    EXPECT_EQ(copy->tmpfs[0].options, "size=65536");
    EXPECT_EQ(copy->sysctls, start.sysctls);
    EXPECT_EQ(copy->builtin, Builtin::kUnpack);
    EXPECT_EQ(copy->only_with, "/etc/hooks");
}

TEST(Protocol, EveryPrefixAndEverySuffixOfAStartIsRefused) {
    const std::string bytes = encode(full_start());
    for (size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(decode<Start>(std::string_view(bytes).substr(0, size))) << size;
    EXPECT_FALSE(decode<Start>(bytes + '\0'));
}

TEST(Protocol, ProcessesAndUsageSurviveTheWireAndNoPrefixOfThemDoes) {
    ProcessList list{.uptime_ms = 5, .realtime_ms = 6, .memory_bytes = 7, .processes = {}};
    list.processes.resize(2);
    list.processes[1].user = "alice";
    list.processes[1].command = "sh";
    list.processes[1].foreground_group = -1;
    list.processes[1].locked_bytes = 9;
    const std::string bytes = encode(list);
    const auto copy = decode<ProcessList>(bytes);
    ASSERT_TRUE(copy);
    ASSERT_EQ(copy->processes.size(), 2U);
    EXPECT_EQ(copy->processes[1].user, "alice");
    EXPECT_EQ(copy->processes[1].foreground_group, -1);
    EXPECT_EQ(copy->processes[1].locked_bytes, 9U);
    for (size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(decode<ProcessList>(std::string_view(bytes).substr(0, size))) << size;
    const auto usage = decode<Usage>(encode(Usage{1, 2, 3, 4, 5, 6}));
    ASSERT_TRUE(usage);
    EXPECT_EQ(usage->oom_kills, 6U);
}

TEST(Protocol, ValuesOutsideTheirRangeAreRefused) {
    Start start = full_start();
    start.argv.clear();
    EXPECT_FALSE(decode<Start>(encode(start)));
    start = full_start();
    start.env = {std::string("A=\0B", 4)};
    EXPECT_FALSE(decode<Start>(encode(start)));
    start = full_start();
    start.session = 0;
    EXPECT_FALSE(decode<Start>(encode(start)));
    start = full_start();
    start.builtin = static_cast<Builtin>(7);
    EXPECT_FALSE(decode<Start>(encode(start)));
    start = full_start();
    start.tmpfs[0].path = "run";
    EXPECT_FALSE(decode<Start>(encode(start)));
    PathStat stat{.name = "a", .mode = 0100644, .link_target = ""};
    EXPECT_TRUE(decode<PathStat>(encode(stat)));
    stat.mtime_ns = 1'000'000'000;
    EXPECT_FALSE(decode<PathStat>(encode(stat)));
    EXPECT_FALSE(decode<BuiltinError>(encode(BuiltinError{.error = -1, .message = ""})));
    EXPECT_FALSE(decode<Signal>(encode(Signal{.session = 1, .signal = 65})));
    EXPECT_FALSE(
        decode<Hello>(encode(Hello{.version = 1, .min_version = 2, .kernel_release = ""})));
    EXPECT_FALSE(decode<Answer>(encode(Answer{.error = -1, .message = ""})));
    EXPECT_FALSE(decode<StreamOpened>(encode(StreamOpened{.error = 4096})));
    std::string root = encode(Root{.disk = 1, .read_only = true, .reserved_bytes = 1 << 20});
    ASSERT_TRUE(decode<Root>(root));
    EXPECT_EQ(decode<Root>(root)->reserved_bytes, 1U << 20);
    EXPECT_FALSE(decode<Root>(std::string_view(root).substr(0, 3)));  // without the reserve
    root[1] = 2;                                                      // a boolean
    EXPECT_FALSE(decode<Root>(root));
    EXPECT_FALSE(decode<StreamOpen>(encode(StreamOpen{.stream = static_cast<Stream>(3)})));
}

TEST(Protocol, StreamHeadersHaveTheirFixedSizes) {
    EXPECT_EQ(encode(FrameHeader{.kind = Kind::kHello}).size(), kFrameHeaderBytes);
    EXPECT_EQ(encode(StreamOpen{}).size(), kStreamOpenBytes);
    EXPECT_EQ(encode(StreamOpened{}).size(), kStreamOpenedBytes);
    EXPECT_EQ(encode(StreamFrame{}).size(), kStreamFrameBytes);
}

TEST(Protocol, FramesAreParsedOneAfterTheOther) {
    std::string bytes = frame(Kind::kSignal, 9, Signal{.session = 2, .signal = 15});
    const size_t first = bytes.size();
    bytes += frame(Kind::kShutdown, 10, Shutdown{});

    const Parsed parsed = parse_frame(bytes, kMaxOrderBytes);

    ASSERT_EQ(parsed.state, Parsed::State::kFrame);
    EXPECT_EQ(parsed.size, first);
    EXPECT_EQ(parsed.header.id, 9U);
    ASSERT_TRUE(decode<Signal>(parsed.payload));
    const Parsed second = parse_frame(std::string_view(bytes).substr(first), kMaxOrderBytes);
    EXPECT_EQ(second.header.kind, Kind::kShutdown);
    EXPECT_EQ(parse_frame(std::string_view(bytes).substr(0, first - 1), kMaxOrderBytes).state,
              Parsed::State::kIncomplete);
}

TEST(Protocol, OversizedUnknownAndReservedFramesAreBroken) {
    const auto state = [](const FrameHeader& header) {
        return parse_frame(encode(header), kMaxEventBytes).state;
    };
    EXPECT_EQ(state({.length = kMaxEventBytes + 1, .kind = Kind::kHello}), Parsed::State::kBroken);
    EXPECT_EQ(state({.length = 0, .kind = static_cast<Kind>(5)}), Parsed::State::kBroken);
    EXPECT_EQ(state({.length = 0, .kind = static_cast<Kind>(77)}), Parsed::State::kBroken);
    EXPECT_EQ(state({.length = 0, .kind = Kind{}}), Parsed::State::kBroken);
    std::string reserved = encode(FrameHeader{.kind = Kind::kHello});
    reserved[6] = 1;
    EXPECT_EQ(parse_frame(reserved, kMaxEventBytes).state, Parsed::State::kBroken);
}

TEST(Protocol, StreamFramesHaveTheLengthTheirKindSays) {
    std::string bytes;
    append_data(bytes, "abc");
    append_ack(bytes, 77);
    append_eof(bytes);
    std::string_view rest = bytes;

    const ParsedStream data = parse_stream_frame(rest);
    rest.remove_prefix(data.size);
    const ParsedStream ack = parse_stream_frame(rest);
    rest.remove_prefix(ack.size);
    const ParsedStream eof = parse_stream_frame(rest);
    rest.remove_prefix(eof.size);

    EXPECT_EQ(data.data, "abc");
    EXPECT_EQ(ack.ack_offset, 77U);
    EXPECT_EQ(eof.kind, StreamKind::kEof);
    EXPECT_TRUE(rest.empty());
    for (const StreamFrame bad :
         {StreamFrame{.kind = StreamKind::kData, .length = 0},
          StreamFrame{.kind = StreamKind::kData, .length = kMaxStreamData + 1},
          StreamFrame{.kind = StreamKind::kAck, .length = 4},
          StreamFrame{.kind = StreamKind::kEof, .length = 1},
          StreamFrame{.kind = StreamKind{}, .length = 1}})
        EXPECT_EQ(parse_stream_frame(encode(bad)).state, Parsed::State::kBroken);
}

}  // namespace
}  // namespace drupe::protocol
