#include "cli/history_list.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/engine/status_text.h"
#include "api/engine/time_text.h"
#include "cli/template.h"
#include "cli/text.h"

namespace drupe::cli {
namespace {

constexpr uint64_t kNano = 1'000'000'000;
constexpr size_t kShortDigits = 12;
constexpr size_t kAlgorithmBytes = 7;  // of "sha256:"
constexpr size_t kCommandWidth = 45;

struct Line {
    std::string id;
    std::string created;
    std::string age;
    std::string command;
    std::string size;
    std::string comment;
};

Line line_of(const ListedStep& step, const HistoryOptions& options, uint64_t now_ns) {
    Line line;
    line.id = step.id;
    if (!options.no_trunc && step.id.starts_with("sha256:")) {
        line.id = step.id.substr(kAlgorithmBytes, kShortDigits);
    }
    line.age = "N/A";
    if (step.created_s > 0) {
        const auto created = static_cast<uint64_t>(step.created_s);
        const uint64_t now = now_ns / kNano;
        line.created = engine::time_text(created * kNano);
        line.age = engine::human_duration(now > created ? now - created : 0) + " ago";
    }
    line.command = step.created_by;
    std::replace(line.command.begin(), line.command.end(), '\t', ' ');
    if (!options.no_trunc) line.command = ellipsis(line.command, kCommandWidth);
    line.size = human_size(step.size_bytes);
    line.comment = step.comment;
    return line;
}

}  // namespace

Result<std::string> history_text(const std::vector<ListedStep>& steps,
                                 const HistoryOptions& options, uint64_t now_ns) {
    nlohmann::json items = nlohmann::json::array();
    std::string ids;
    Table table({"IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"});
    for (const ListedStep& step : steps) {
        const Line line = line_of(step, options, now_ns);
        ids += line.id + "\n";
        table.row({line.id, line.age, line.command, line.size, line.comment});
        items.push_back({{"ID", line.id},
                         {"CreatedAt", line.created},
                         {"CreatedSince", line.age},
                         {"CreatedBy", line.command},
                         {"Size", line.size},
                         {"Comment", line.comment}});
    }
    if (options.quiet) return ids;
    if (!options.format.empty()) return render_list(options.format, items);
    return table.text();
}

}  // namespace drupe::cli
