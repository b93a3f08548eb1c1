#include "cli/wait.h"

#include <array>

#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"

namespace drupe::cli {
namespace {

constexpr size_t kMaxAnswer = 256 << 10;

Result<std::string> read_rest(client::Client& client) {
    std::string body;
    std::array<std::byte, 4096> buffer{};
    for (;;) {
        TRY_ASSIGN(const size_t size, client.read(buffer));
        if (size == 0) return body;
        if (body.size() + size > kMaxAnswer)
            return Error{ErrorCode::kLimit, "the daemon's answer is too long"};
        body.append(reinterpret_cast<const char*>(buffer.data()), size);
    }
}

}  // namespace

Result<ContainerEnd> read_end(client::Client& client) {
    TRY_ASSIGN(const std::string body, read_rest(client));
    TRY_ASSIGN(const auto json, parse_json(body));
    ContainerEnd end;
    uint8_t code = 0;
    JsonReader in(json);
    in.get("StatusCode", code);
    end.exit_code = code;
    if (const nlohmann::json* error = in.object("Error")) {
        JsonReader said(*error);
        std::string message;
        said.get("Message", message);
        in.check(said.status());
        // Control characters of it are no terminal's.
        if (!message.empty())
            end.error = client::error_of(500, dump_json({{"message", message}})).message;
    }
    if (const nlohmann::json* own = in.object("Drupe")) {
        JsonReader part(*own);
        part.get_numbers("Marks", end.marks);
        part.get_numbers("Counts", end.counts);
        in.check(part.status());
    }
    TRY(in.status());
    return end;
}

int wait_command(int argc, char** argv) {
    std::vector<std::string> names;
    Args args("wait", "CONTAINER [CONTAINER...]",
              "Wait until containers stop, and print their exit codes.");
    args.operands(names, 1, SIZE_MAX);
    args.example("id=$(drupe run -d app) && drupe wait $id", "the code of one in the background");
    if (const auto code = args.parse(argc, argv)) return *code;
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    return for_each(names, [&](const std::string& name) -> Result<std::string> {
        TRY(client.value().begin(make_request("POST", container_path(name, "/wait"))));
        TRY_ASSIGN(const ContainerEnd end, read_end(client.value()));
        return std::to_string(end.exit_code);
    });
}

}  // namespace drupe::cli
