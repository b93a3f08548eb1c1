#include "cli/progress.h"

#include "base/json_reader.h"

namespace drupe::cli {
namespace {

/// Registries and archives have a say in it.
std::string printable(std::string text) {
    for (char& c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    return text;
}

Status hand_out(std::string_view text, const std::function<Status(const ProgressLine&)>& sink) {
    TRY_ASSIGN(const auto json, parse_json(text));
    ProgressLine line;
    std::string error;
    JsonReader in(json);
    in.get("error", error);
    in.get("status", line.status);
    in.get("id", line.id);
    in.get("stream", line.stream);
    if (const nlohmann::json* detail = in.object("progressDetail")) {
        JsonReader counts(*detail);
        counts.get("current", line.bytes);
        counts.get("total", line.total_bytes);
        in.check(counts.status());
        line.is_layer = !line.id.empty();
    }
    TRY(in.status());
    if (!error.empty()) return Error{ErrorCode::kIo, printable(std::move(error))};
    while (line.stream.ends_with('\n')) line.stream.pop_back();
    line.status = printable(std::move(line.status));
    line.id = printable(std::move(line.id));
    line.stream = printable(std::move(line.stream));
    return sink(line);
}

}  // namespace

Status watch_progress(client::Client& client, const client::Request& request,
                      const std::function<Status(const ProgressLine&)>& sink) {
    client::LineReader lines([&](std::string_view line) { return hand_out(line, sink); });
    TRY(client.stream(request, [&](std::string_view bytes) { return lines.push(bytes); }));
    return lines.finish();
}

}  // namespace drupe::cli
