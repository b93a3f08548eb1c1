// drupe stats.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <thread>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr size_t kAtOnce = 32;  // requests, each of which takes a second

struct Options {
    bool all = false;
    bool once = false;
    bool no_trunc = false;
    std::string format;
    std::vector<std::string> names;
};

/// What one container uses, as it is shown.
using Line = nlohmann::json;

/// Processor time between two readings, in percent of one processor.
Result<double> cpu_percent(const nlohmann::json& stats) {
    uint64_t used[2] = {};
    uint64_t system[2] = {};
    uint64_t processors = 1;
    const char* names[2] = {"precpu_stats", "cpu_stats"};
    JsonReader in(stats);
    for (size_t i = 0; i < 2; ++i) {
        const nlohmann::json* object = in.object(names[i]);
        if (object == nullptr) continue;
        JsonReader part(*object);
        part.get("system_cpu_usage", system[i]);
        part.get("online_cpus", processors);
        if (const nlohmann::json* usage = part.object("cpu_usage")) {
            JsonReader numbers(*usage);
            numbers.get("total_usage", used[i]);
            part.check(numbers.status());
        }
        in.check(part.status());
    }
    TRY(in.status());
    if (used[1] <= used[0] || system[1] <= system[0]) return 0.0;
    return static_cast<double>(used[1] - used[0]) / static_cast<double>(system[1] - system[0]) *
           static_cast<double>(processors) * 100;
}

/// Bytes that were read and written.
std::string block_io(JsonReader& in) {
    uint64_t bytes[2] = {};
    const nlohmann::json* object = in.object("blkio_stats");
    const auto entries =
        object == nullptr ? nlohmann::json() : object->value("io_service_bytes_recursive", Line());
    for (const auto& entry : entries.is_array() ? entries : Line::array()) {
        std::string op;
        uint64_t value = 0;
        JsonReader numbers(entry);
        numbers.get("op", op);
        numbers.get("value", value);
        in.check(numbers.status());
        bytes[op == "write" ? 1 : 0] += value;
    }
    return human_size(bytes[0]) + " / " + human_size(bytes[1]);
}

Result<Line> line_of(const nlohmann::json& stats, bool no_trunc) {
    std::string id;
    std::string name;
    uint64_t usage = 0;
    uint64_t limit = 0;
    uint64_t inactive = 0;
    uint64_t machine = 0;
    uint64_t shared = 0;
    uint64_t processes = 0;
    JsonReader in(stats, "stats");
    in.get("id", id);
    in.get("name", name);
    if (const nlohmann::json* memory = in.object("memory_stats")) {
        JsonReader numbers(*memory);
        numbers.get("usage", usage);
        numbers.get("limit", limit);
        if (const nlohmann::json* more = numbers.object("stats")) {
            JsonReader details(*more);
            details.get("inactive_file", inactive);
            details.get("machine_private_bytes", machine);
            details.get("machine_shared_bytes", shared);
            numbers.check(details.status());
        }
        in.check(numbers.status());
    }
    if (const nlohmann::json* pids = in.object("pids_stats")) {
        JsonReader numbers(*pids);
        numbers.get("current", processes);
        in.check(numbers.status());
    }
    const std::string io = block_io(in);
    TRY(in.status());
    TRY_ASSIGN(const double cpu, cpu_percent(stats));
    usage -= std::min(usage, inactive);  // as Docker's: what the kernel would drop isn't used
    const double percent =
        limit == 0 ? 0 : static_cast<double>(usage) / static_cast<double>(limit) * 100;
    return Line{{"ID", no_trunc ? id : id.substr(0, 12)},
                {"Container", no_trunc ? id : id.substr(0, 12)},
                {"Name", name.substr(name.starts_with('/') ? 1 : 0)},
                {"CPUPerc", fmt::format("{:.2f}%", cpu)},
                {"MemUsage", binary_size(usage) + " / " + binary_size(limit)},
                {"MemPerc", fmt::format("{:.2f}%", percent)},
                {"HostMem", binary_size(machine)},
                {"SharedMem", binary_size(shared)},
                {"NetIO", "0B / 0B"},
                {"BlockIO", io},
                {"PIDs", std::to_string(processes)}};
}

Result<Line> read_one(const std::string& name, bool no_trunc) {
    TRY_ASSIGN(const auto stats,
               ask(make_request("GET", container_path(name, "/stats"), {{"stream", "0"}})));
    return line_of(stats, no_trunc);
}

Result<std::vector<std::string>> ids(bool all) {
    const client::Pairs query = all ? client::Pairs{{"all", "1"}} : client::Pairs{};
    TRY_ASSIGN(const auto json, ask(make_request("GET", "/containers/json", query)));
    std::vector<std::string> found;
    for (const auto& item : json) {
        std::string id;
        JsonReader in(item);
        in.get("Id", id);
        TRY(in.status());
        found.push_back(std::move(id));
    }
    return found;
}

/// One reading of all of them. Without names one that goes away meanwhile is left out.
Result<Line> read_all(const Options& options) {
    std::vector<std::string> names = options.names;
    if (names.empty()) {
        TRY_ASSIGN(names, ids(options.all));
    }
    auto lines = Line::array();
    for (size_t from = 0; from < names.size(); from += kAtOnce) {
        std::vector<std::future<Result<Line>>> readings;
        for (size_t i = from; i < std::min(names.size(), from + kAtOnce); ++i) {
            readings.push_back(
                std::async(std::launch::async, read_one, names[i], options.no_trunc));
        }
        std::optional<Error> failed;
        for (auto& reading : readings) {
            auto line = reading.get();
            if (line) {
                lines.push_back(std::move(line).value());
            } else if (!options.names.empty()) {
                failed = line.error();
            }
        }
        if (failed) return *failed;
    }
    return lines;
}

Result<std::string> show(const Line& lines, const std::string& format) {
    if (!format.empty()) return render_list(format, lines);
    Table table({"CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "HOST MEM",
                 "SHARED", "BLOCK I/O", "PIDS"});
    for (const Line& line : lines) {
        std::vector<std::string> cells;
        for (const char* name : {"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "HostMem",
                                 "SharedMem", "BlockIO", "PIDs"}) {
            cells.push_back(line.at(name).get<std::string>());
        }
        table.row(std::move(cells));
    }
    return table.text();
}

}  // namespace

int stats_command(int argc, char** argv) {
    Options options;
    Args args(
        "stats", "[CONTAINER...]",
        "Show what containers use, each second: the workload's memory as its machine counts "
        "it, what the machine alone costs the host (HOST MEM), and what it shares with others "
        "that go on from the same memory (SHARED).");
    args.flag("-a,--all", options.all, "Those that don't run, too");
    args.flag("--no-stream", options.once, "One reading only");
    args.flag("--no-trunc", options.no_trunc, "Print ids in full");
    args.value("--format", "FORMAT", options.format,
               "json (one document a line), or a template: '{{.Name}} {{.HostMem}}'");
    args.operands(options.names, 0, SIZE_MAX);
    args.example("drupe stats --no-stream", "all that run, once");
    if (const auto code = args.parse(argc, argv)) return *code;
    for (;;) {
        const auto started = std::chrono::steady_clock::now();
        const auto lines = read_all(options);
        const auto text =
            lines ? show(lines.value(), options.format) : Result<std::string>(lines.error());
        if (!text) return fail(text.error());
        // As Docker's: what was shown is overwritten.
        const int code = print(options.once ? text.value() : "\x1b[2J\x1b[H" + text.value());
        if (options.once || code != 0) return code;
        std::this_thread::sleep_until(started + std::chrono::seconds(1));
    }
}

}  // namespace drupe::cli
