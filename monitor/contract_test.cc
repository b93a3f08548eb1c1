#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "monitor/config.h"
#include "monitor/control_client.h"
#include "monitor/exit_record.h"

namespace drupe {
namespace {

MonitorConfig some_config() {
    MonitorConfig config;
    config.id = std::string(64, 'a');
    config.memory_bytes = 128 << 20;
    config.kvm_fd = 3;
    config.kernel_fd = 4;
    config.initrd_fd = 5;
    config.root_disk.layer_fds = {7, 8};
    config.root_disk.max_top_bytes = 1 << 30;
    config.storage_bytes = 1 << 28;
    config.identity.entropy = std::string("\0\xff\x10", 3);
    config.identity.host_name = "box";
    config.restore = {.state_fd = 9, .memory_fd = 10};
    config.workload.argv = {"sh", "-c", "echo \xff"};
    config.workload.limits = {{7, 1024, UINT64_MAX}};
    return config;
}

TEST(MonitorConfigTest, RoundTrips) {
    const auto parsed = parse_monitor_config(to_json(some_config()));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed.value().root_disk.layer_fds, (std::vector<int>{7, 8}));
    EXPECT_EQ(parsed.value().root_disk.max_top_bytes, 1U << 30);
    EXPECT_EQ(parsed.value().storage_bytes, 1U << 28);
    EXPECT_EQ(parsed.value().restore.memory_fd, 10);
    EXPECT_FALSE(parsed.value().save.given());
    EXPECT_EQ(parsed.value().identity.entropy, some_config().identity.entropy);
    EXPECT_EQ(parsed.value().workload.limits[0].hard, UINT64_MAX);
    EXPECT_EQ(parsed.value().hardware, HardwareDescription::kDeviceTree);
}

TEST(MonitorConfigTest, ARefusalNamesTheMember) {
    MonitorConfig config = some_config();
    config.vcpus = 33;
    const auto parsed = parse_monitor_config(to_json(config));
    ASSERT_FALSE(parsed);
    EXPECT_NE(parsed.error().message.find("machine.vcpus"), std::string::npos)
        << parsed.error().message;
    EXPECT_FALSE(parse_monitor_config("{}"));
    EXPECT_FALSE(parse_monitor_config("[1"));
    EXPECT_FALSE(parse_monitor_config(std::string(100000, '[')));
}

TEST(MonitorConfigTest, ATemplatesMachineHasNoWorkloadAndASnapshotTwoFiles) {
    MonitorConfig config = some_config();
    config.workload = {};
    EXPECT_FALSE(parse_monitor_config(to_json(config)));
    config.save = {.state_fd = 11, .memory_fd = 12};
    EXPECT_TRUE(parse_monitor_config(to_json(config)));
    config.save.memory_fd = -1;
    EXPECT_FALSE(parse_monitor_config(to_json(config)));
}

TEST(ExitRecordTest, RoundTripsAndRefusesNonsense) {
    ExitRecord record;
    record.reason = "exited";
    record.status = 3;
    record.marks["main"] = 17;
    const auto parsed = parse_exit_record(to_json(record));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed.value().status, 3U);
    EXPECT_EQ(parsed.value().marks.at("main"), 17U);
    for (const char* bad : {"", "{}", R"({"reason":"exited","status":256})",
                            R"({"reason":"exited","marks":{"a":"b"}})", R"({"reason":7})"})
        EXPECT_FALSE(parse_exit_record(bad)) << bad;
}

TEST(ControlTest, AnExecRequestTravelsWithItsDescriptors) {
    FdPair sockets = std::move(make_socketpair(SOCK_SEQPACKET)).value();
    FdPair out = std::move(make_pipe()).value();
    ControlClient client(std::move(sockets.first));
    control::Request request;
    request.op = control::Op::kExec;
    request.start.argv = {"true"};
    request.stdio.stdout_fd = std::move(out.second);
    const auto id = client.send(std::move(request));
    ASSERT_TRUE(id);

    auto packet = control::receive_packet(sockets.second.get());
    ASSERT_TRUE(packet && packet.value());
    auto received = control::decode_request(packet.value()->text, std::move(packet.value()->fds));
    ASSERT_TRUE(received) << received.error().message;
    EXPECT_EQ(received.value().start.argv, std::vector<std::string>{"true"});
    EXPECT_FALSE(received.value().stdio.stdin_fd.valid());
    ASSERT_EQ(::write(received.value().stdio.stdout_fd.get(), "x", 1), 1);

    control::Reply reply;
    reply.id = id.value();
    reply.session = 2;
    ASSERT_TRUE(control::send_packet(sockets.second.get(), control::encode(reply), {}));
    const auto answer = client.receive(id.value(), std::chrono::milliseconds(1000));
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer.value().session, 2U);
}

TEST(ControlTest, ADiskTravelsWithAllItsDescriptors) {
    FdPair sockets = std::move(make_socketpair(SOCK_SEQPACKET)).value();
    ControlClient client(std::move(sockets.first));
    const auto file = [] { return std::move(open_file("/dev/null", O_RDONLY)).value(); };
    control::Request request;
    request.op = control::Op::kReplaceDisk;
    for (size_t i = 0; i < control::kMaxLayers; ++i) request.disk.layers.push_back(file());
    request.disk.index = file();
    request.disk.top_data = file();
    request.disk.top_meta = std::move(open_file("/dev/full", O_WRONLY)).value();
    ASSERT_TRUE(client.send(std::move(request)));

    auto packet = control::receive_packet(sockets.second.get());
    ASSERT_TRUE(packet && packet.value());
    auto received = control::decode_request(packet.value()->text, std::move(packet.value()->fds));
    ASSERT_TRUE(received) << received.error().message;
    EXPECT_EQ(received.value().disk.layers.size(), control::kMaxLayers);
    EXPECT_EQ(::write(received.value().disk.top_meta.get(), "x", 1), -1);
    EXPECT_EQ(errno, ENOSPC);
}

TEST(ControlTest, ADiskWithOtherDescriptorsThanItNamesIsRefused) {
    const auto request = [](size_t layers, size_t count) {
        std::vector<Fd> fds;
        for (size_t i = 0; i < count; ++i)
            fds.push_back(std::move(open_file("/dev/null", O_RDONLY)).value());
        return control::decode_request(
            R"({"id":1,"op":"replace_disk","layers":)" + std::to_string(layers) + "}",
            std::move(fds));
    };
    EXPECT_TRUE(request(2, 5));
    EXPECT_FALSE(request(2, 4));
    EXPECT_FALSE(request(2, 6));
    EXPECT_FALSE(request(0, 3));
    EXPECT_FALSE(request(4'000'000'000, 3));
}

TEST(ControlTest, DescriptorsThatAreNotAnnouncedAreRefused) {
    std::vector<Fd> fds;
    fds.push_back(std::move(open_file("/dev/null", O_RDONLY)).value());
    EXPECT_FALSE(control::decode_request(R"({"id":1,"op":"attach"})", std::move(fds)));
    EXPECT_FALSE(control::decode_request(R"({"id":1,"op":"attach","stdout":true})", {}));
    EXPECT_FALSE(control::decode_request(R"({"id":1,"op":"format-disk"})", {}));
    EXPECT_FALSE(control::decode_request(R"({"id":1,"op":"exec"})", {}));
    EXPECT_FALSE(control::decode_request(R"({"id":1,"op":"signal","signal":65})", {}));
}

TEST(ControlTest, AClientWaitsNoLongerThanItSaid) {
    FdPair sockets = std::move(make_socketpair(SOCK_SEQPACKET)).value();
    ControlClient client(std::move(sockets.first));
    const auto reply = client.call({}, std::chrono::milliseconds(10));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::kLimit);
    sockets.second.reset();
    EXPECT_FALSE(client.call({}));
}

}  // namespace
}  // namespace drupe
