// drupe ps, inspect and logs through a daemon.

#include <unistd.h>

#include <algorithm>

#include "api/client/client.h"
#include "api/client/frames.h"
#include "api/engine/clock.h"
#include "api/engine/time_text.h"
#include "base/fd.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/remote.h"

namespace drupe::cli {
namespace {

/// A container of GET /containers/json as listed_text() takes it.
Result<ListedContainer> read_container(const nlohmann::json& value) {
    constexpr uint64_t kNano = 1'000'000'000;
    ListedContainer c;
    std::vector<std::string> names;
    uint64_t created_s = 0;
    JsonReader in(value, "container");
    in.get("Id", c.id);
    in.get_list("Names", names, 64);
    in.get("Image", c.image);
    in.get("Command", c.command);
    in.get("Created", created_s);
    in.get("State", c.state);
    in.get("Status", c.status);
    const nlohmann::json* labels = in.object("Labels");
    TRY(in.status());
    if (!names.empty()) c.name = names.front().substr(names.front().starts_with('/') ? 1 : 0);
    c.created_at_ns = std::min(created_s, UINT64_MAX / kNano) * kNano;
    if (labels == nullptr) return c;
    for (const auto& [name, text] : labels->items()) {
        if (text.is_string()) c.labels[name] = text.get<std::string>();
    }
    return c;
}

std::string filters_json(const std::vector<Filter>& filters) {
    auto object = nlohmann::json::object();
    for (const Filter& filter : filters) object[filter.key].push_back(filter.value);
    return dump_json(object);
}

Result<std::string> list(bool all, const std::vector<Filter>& filters, const ListOptions& options) {
    TRY_ASSIGN(auto client, connect_daemon());
    client::Pairs query;
    if (all) query.emplace_back("all", "1");
    if (!filters.empty()) query.emplace_back("filters", filters_json(filters));
    TRY_ASSIGN(const auto answer, client.request(make_request("GET", "/containers/json", query)));
    TRY_ASSIGN(const auto json, parse_json(answer.body));
    if (!json.is_array()) return Error{ErrorCode::kCorrupt, "the daemon's answer is no list"};
    std::vector<ListedContainer> containers;
    for (const auto& item : json) {
        TRY_ASSIGN(auto container, read_container(item));
        containers.push_back(std::move(container));
    }
    return listed_text(containers, options, engine::realtime_ns());
}

Status write_out(int fd, std::string_view bytes) {
    return write_all(fd, std::as_bytes(std::span(bytes)));
}

Status print_logs(const std::string& name, client::Pairs query) {
    TRY_ASSIGN(auto client, connect_daemon());
    query.emplace_back("stdout", "1");
    query.emplace_back("stderr", "1");
    TRY_ASSIGN(const auto head,
               client.begin(make_request("GET", container_path(name, "/logs"), std::move(query))));
    const bool framed = head.header("content-type").find("multiplexed") != std::string::npos;
    client::FrameDecoder frames([](client::FrameDecoder::Stream stream, std::string_view bytes) {
        return write_out(
            stream == client::FrameDecoder::Stream::kStdout ? STDOUT_FILENO : STDERR_FILENO, bytes);
    });
    std::vector<std::byte> buffer(64 << 10);
    for (;;) {
        TRY_ASSIGN(const size_t size, client.read(buffer));
        if (size == 0) return framed ? frames.finish() : Status(ok());
        const std::string_view bytes{reinterpret_cast<const char*>(buffer.data()), size};
        TRY(framed ? frames.push(bytes) : write_out(STDOUT_FILENO, bytes));
    }
}

}  // namespace

int remote_ps(bool all, const std::vector<Filter>& filters, const ListOptions& options) {
    const auto text = list(all, filters, options);
    return text ? print(text.value()) : fail(text.error());
}

int remote_logs(const std::string& name, client::Pairs query) {
    auto printed = print_logs(name, std::move(query));
    return printed ? 0 : fail(printed.error());
}

Result<std::string> remote_inspect(const std::string& name, const std::string& type) {
    TRY_ASSIGN(auto client, connect_daemon());
    if (type != "image") {
        auto container = client.request(make_request("GET", container_path(name, "/json")));
        if (container) return std::move(container).value().body;
        if (container.error().code != ErrorCode::kNotFound || type == "container") {
            return container.error();
        }
    }
    auto image = client.request(make_request("GET", "/images/" + client::escape(name) + "/json"));
    if (image) return std::move(image).value().body;
    if (image.error().code == ErrorCode::kNotFound && type.empty()) {
        return Error{ErrorCode::kNotFound, "No such object: " + name};
    }
    return image.error();
}

}  // namespace drupe::cli
