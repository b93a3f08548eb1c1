#include "monitor/exit_record.h"

#include "base/json_reader.h"

namespace drupe {
namespace {

using nlohmann::json;

constexpr size_t kMaxNumbers = 512;

Status read_numbers(const json* object, std::map<std::string, uint64_t>& out) {
    if (object == nullptr) return ok();
    if (object->size() > kMaxNumbers) return Error{ErrorCode::kCorrupt, "too many numbers"};
    for (const auto& [name, value] : object->items()) {
        if (!value.is_number_unsigned()) return Error{ErrorCode::kCorrupt, "\"" + name + "\""};
        out[name] = value.get<uint64_t>();
    }
    return ok();
}

}  // namespace

std::string to_json(const ExitRecord& record) {
    return dump_json({{"reason", record.reason},
                      {"status", record.status},
                      {"signal", record.signal},
                      {"oom_killed", record.oom_killed},
                      {"error", record.error.substr(0, 4096)},
                      {"started_at_ns", record.started_at_ns},
                      {"finished_at_ns", record.finished_at_ns},
                      {"guest_faults", record.guest_faults},
                      {"marks", record.marks},
                      {"counts", record.counts}});
}

Result<ExitRecord> parse_exit_record(std::string_view text) {
    const auto corrupt = [](const std::string& why) {
        return Error{ErrorCode::kCorrupt, "exit record: " + why};
    };
    const auto parsed = parse_json(text);
    if (!parsed) return corrupt("not valid JSON");
    ExitRecord record;
    JsonReader in(parsed.value());
    in.get("reason", record.reason);
    in.get("status", record.status);
    in.get("signal", record.signal);
    in.get("oom_killed", record.oom_killed);
    in.get("error", record.error);
    in.get("started_at_ns", record.started_at_ns);
    in.get("finished_at_ns", record.finished_at_ns);
    in.get("guest_faults", record.guest_faults);
    const json* marks = in.object("marks");
    const json* counts = in.object("counts");
    if (record.reason.empty() || record.reason.size() > 64) in.fail("reason");
    if (record.status > 255) in.fail("status");
    if (auto status = in.status(); !status) return corrupt(status.error().message);
    if (auto status = read_numbers(marks, record.marks); !status)
        return corrupt(status.error().message);
    if (auto status = read_numbers(counts, record.counts); !status)
        return corrupt(status.error().message);
    return record;
}

}  // namespace drupe
