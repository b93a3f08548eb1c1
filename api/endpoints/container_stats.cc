// GET /containers/{id}/stats

#include <poll.h>
#include <unistd.h>

#include <cstdlib>

#include "api/endpoints/containers.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"

namespace drupe::endpoints {
namespace {

using engine::Container;
using engine::State;
using engine::Stats;

constexpr int kIntervalMs = 1000;

bool runs(const Container& c) {
    return c.state == State::kRunning || c.state == State::kPaused;
}

/// CPU time of the whole host, which clients divide by.
uint64_t system_cpu_ns() {
    constexpr size_t kMaxBytes = 4096;
    const auto text = read_file("/proc/uptime", kMaxBytes);
    const double seconds = text ? std::strtod(text.value().c_str(), nullptr) : 0;
    return static_cast<uint64_t>(seconds * 1e9) *
           static_cast<uint64_t>(::sysconf(_SC_NPROCESSORS_ONLN));
}

Json cpu_json(const Stats& stats) {
    Json throttling{{"periods", 0}, {"throttled_periods", 0}, {"throttled_time", 0}};
    Json usage{{"total_usage", 0}, {"usage_in_kernelmode", 0}, {"usage_in_usermode", 0}};
    if (stats.host) {
        constexpr uint64_t kNano = 1000;
        usage = {{"total_usage", stats.host->cpu_us * kNano},
                 {"usage_in_kernelmode", stats.host->cpu_system_us * kNano},
                 {"usage_in_usermode", stats.host->cpu_user_us * kNano}};
        throttling = {{"periods", stats.host->cpu_periods},
                      {"throttled_periods", stats.host->cpu_throttled_periods},
                      {"throttled_time", stats.host->cpu_throttled_us * kNano}};
    }
    return {{"cpu_usage", usage},
            {"system_cpu_usage", system_cpu_ns()},
            {"online_cpus", ::sysconf(_SC_NPROCESSORS_ONLN)},
            {"throttling_data", throttling}};
}

/// The workload's memory as its guest counts it; what the machine costs the host besides.
Json memory_json(const Stats& stats) {
    Json json{{"usage", 0}, {"stats", Json::object()}, {"limit", stats.memory_limit_bytes}};
    if (stats.guest) {
        json["usage"] = stats.guest->memory_bytes;
        json["stats"] = {{"inactive_file", stats.guest->inactive_file_bytes}};
    } else if (stats.host) {
        json["usage"] = stats.host->memory_bytes;
    }
    if (stats.host) {
        json["stats"]["machine_bytes"] = stats.host->memory_bytes;
        json["stats"]["machine_private_bytes"] = stats.host->private_bytes;
        json["stats"]["machine_shared_bytes"] = stats.shared_bytes;
    }
    return json;
}

Json blkio_json(const Stats& stats) {
    Json bytes = Json::array();
    Json operations = Json::array();
    if (stats.host) {
        const auto entry = [](const char* op, uint64_t value) {
            return Json{{"major", 0}, {"minor", 0}, {"op", op}, {"value", value}};
        };
        bytes = {entry("read", stats.host->read_bytes), entry("write", stats.host->write_bytes)};
        operations = {entry("read", stats.host->read_operations),
                      entry("write", stats.host->write_operations)};
    }
    return {{"io_service_bytes_recursive", bytes}, {"io_serviced_recursive", operations},
            {"io_queue_recursive", nullptr},       {"io_service_time_recursive", nullptr},
            {"io_wait_time_recursive", nullptr},   {"io_merged_recursive", nullptr},
            {"io_time_recursive", nullptr},        {"sectors_recursive", nullptr}};
}

/// What two readings differ by is the clients' to see: each answer has the one before.
struct Reading {
    std::string at = engine::time_text(0);
    Json cpu = {
        {"cpu_usage", {{"total_usage", 0}, {"usage_in_kernelmode", 0}, {"usage_in_usermode", 0}}},
        {"throttling_data", {{"periods", 0}, {"throttled_periods", 0}, {"throttled_time", 0}}}};
};

Json to_json(const Stats& stats, Reading& before) {
    Reading now{engine::time_text(engine::realtime_ns()), cpu_json(stats)};
    Json pids = Json::object();
    if (stats.guest) pids = {{"current", stats.guest->processes}};
    if (stats.guest && stats.guest->processes_max != 0) pids["limit"] = stats.guest->processes_max;
    Json json{{"name", "/" + stats.container.name},
              {"id", stats.container.id},
              {"read", now.at},
              {"preread", before.at},
              {"pids_stats", pids},
              {"blkio_stats", blkio_json(stats)},
              {"num_procs", 0},
              {"storage_stats", Json::object()},
              {"cpu_stats", now.cpu},
              {"precpu_stats", before.cpu},
              {"memory_stats", memory_json(stats)}};
    before = now;
    return json;
}

bool client_gone(const Call& call, int wait_ms) {
    pollfd poll{call.http.client_fd(), POLLRDHUP, 0};
    ::poll(&poll, 1, wait_ms);
    return (poll.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

}  // namespace

Status container_stats(const Call& call) {
    const bool stream = call.flag("stream", true);
    const bool one_shot = call.flag("one-shot");
    const auto read = [&]() -> Result<Stats> {
        TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
        return engine->stats(call.id());
    };
    TRY_ASSIGN(Stats stats, read());
    Reading before;
    if (!stream) {
        if (!one_shot && runs(stats.container)) {
            to_json(stats, before);
            if (client_gone(call, kIntervalMs)) return ok();
            TRY_ASSIGN(stats, read());
        }
        return call.answer(200, to_json(stats, before));
    }
    TRY(call.http.begin(200, "application/json"));
    for (;;) {
        TRY(call.http.write(dump(to_json(stats, before)) + "\n"));
        if (client_gone(call, kIntervalMs)) return ok();
        auto next = read();
        if (!next) return ok();  // it was removed
        stats = std::move(next).value();
    }
}

}  // namespace drupe::endpoints
