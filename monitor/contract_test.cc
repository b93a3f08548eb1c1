#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "monitor/assignment.h"
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
    config.restore = {.state_fd = 9, .memory_fd = 10, .verify = true};
    config.own_process_fd = 11;
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
    EXPECT_EQ(parsed.value().own_process_fd, 11);
    EXPECT_TRUE(parsed.value().restore.verify);
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

/// A configuration whose descriptors are files: pipes, each of which tells its name when read.
class AssignmentTest : public ::testing::Test {
  protected:
    void SetUp() override {
        ends_ = std::move(make_socketpair(SOCK_SEQPACKET)).value();
        config_ = some_config();
        for_each_descriptor(config_, [this](int& fd) {
            FdPair pipe = std::move(make_pipe()).value();
            const std::string name = std::to_string(fd);
            ASSERT_EQ(::write(pipe.second.get(), name.data(), name.size()),
                      static_cast<ssize_t>(name.size()));
            fd = pipe.first.get();
            pipes_.push_back(std::move(pipe.first));
        });
    }
    static std::string name_of(int fd) {
        const Fd own(fd);
        return std::move(read_all(own.get(), 16)).value();
    }

    FdPair ends_;
    MonitorConfig config_;
    std::vector<Fd> pipes_;
};

TEST_F(AssignmentTest, ComesWithEveryDescriptorButThoseOfABoot) {
    FdPair messages = std::move(make_pipe()).value();
    ASSERT_TRUE(send_assignment(ends_.first.get(), config_, messages.second.get()));
    auto received = receive_assignment(ends_.second.get());
    ASSERT_TRUE(received) << received.error().message;
    ASSERT_TRUE(received.value());
    const MonitorConfig& config = received.value()->config;
    EXPECT_EQ(config.id, config_.id);
    EXPECT_EQ(config.kernel_fd, -1);
    EXPECT_EQ(config.initrd_fd, -1);
    EXPECT_EQ(config.console_fd, -1);
    EXPECT_EQ(name_of(config.kvm_fd), "3");
    EXPECT_EQ(name_of(config.root_disk.layer_fds.at(1)), "8");
    EXPECT_EQ(name_of(config.restore.memory_fd), "10");
    EXPECT_TRUE(received.value()->messages.valid());
    ASSERT_TRUE(confirm_assignment(ends_.second.get()));
    EXPECT_TRUE(await_confirmation(ends_.first.get(), 1000));
}

TEST_F(AssignmentTest, OtherDescriptorsThanItNamesAreRefused) {
    const auto send = [&](const std::string& text, const std::vector<int>& fds) {
        ASSERT_TRUE(control::send_packet(ends_.first.get(), text, fds));
    };
    for (const size_t count : {size_t{0}, size_t{1}, size_t{20}}) {
        send(to_json(some_config()), std::vector<int>(count, pipes_[0].get()));
        EXPECT_FALSE(receive_assignment(ends_.second.get())) << count;
    }
    send("{}", {});
    EXPECT_FALSE(receive_assignment(ends_.second.get()));
}

TEST_F(AssignmentTest, OneThatIsTooLargeIsntSentAndAnEndIsNone) {
    config_.workload.env.assign(3, std::string(100'000, 'x'));
    const Status sent = send_assignment(ends_.first.get(), config_, -1);
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, ErrorCode::kLimit);
    EXPECT_EQ(await_confirmation(ends_.first.get(), 1).error().code, ErrorCode::kLimit);
    ends_.first.reset();
    const auto received = receive_assignment(ends_.second.get());
    ASSERT_TRUE(received);
    EXPECT_FALSE(received.value());
}

}  // namespace
}  // namespace drupe
