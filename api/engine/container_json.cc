#include "api/engine/container_json.h"

#include "base/json_reader.h"

namespace drupe::engine {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

constexpr size_t kMaxItems = 8192;
constexpr size_t kMaxLabels = 4096;

json optional_list(const std::optional<Strings>& list) {
    return list ? json(*list) : json();
}

void get_optional_list(JsonReader& in, const json& object, const char* name,
                       std::optional<Strings>& out) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) return;
    in.get_list(name, out.emplace(), kMaxItems);
}

Status read_labels(const json* object, std::map<std::string, std::string>& out) {
    if (object == nullptr) return ok();
    if (object->size() > kMaxLabels) return Error{ErrorCode::kInvalid, "too many labels"};
    for (const auto& [name, value] : object->items()) {
        if (!value.is_string()) return Error{ErrorCode::kInvalid, "label \"" + name + "\""};
        out[name] = value.get_ref<const std::string&>();
    }
    return ok();
}

}  // namespace

std::string to_json(const ContainerConfig& config) {
    json ulimits = json::array();
    for (const Ulimit& limit : config.ulimits) {
        ulimits.push_back({{"name", limit.name}, {"soft", limit.soft}, {"hard", limit.hard}});
    }
    json value{{"image", config.image},
               {"entrypoint", optional_list(config.entrypoint)},
               {"cmd", optional_list(config.cmd)},
               {"env", config.env},
               {"working_dir", config.working_dir},
               {"user", config.user},
               {"host_name", config.host_name},
               {"domain_name", config.domain_name},
               {"labels", config.labels},
               {"stop_signal", config.stop_signal},
               {"ulimits", ulimits},
               {"tty", config.tty},
               {"open_stdin", config.open_stdin},
               {"attach_stdin", config.attach_stdin},
               {"attach_stdout", config.attach_stdout},
               {"attach_stderr", config.attach_stderr},
               {"read_only", config.read_only},
               {"auto_remove", config.auto_remove},
               {"memory_bytes", config.memory_bytes},
               {"storage_bytes", config.storage_bytes},
               {"nano_cpus", config.nano_cpus},
               {"kernel", config.kernel},
               {"kernel_args", config.kernel_args},
               {"console", config.console},
               {"timing", config.timing}};
    if (config.stop_timeout_s) value["stop_timeout_s"] = *config.stop_timeout_s;
    return dump_json(value);
}

Result<ContainerConfig> parse_container_config(std::string_view text) {
    const auto corrupt = [](const std::string& why) {
        return Error{ErrorCode::kCorrupt, "container configuration: " + why};
    };
    const auto parsed = parse_json(text);
    if (!parsed) return corrupt("not valid JSON");
    const json& value = parsed.value();
    ContainerConfig config;
    JsonReader in(value);
    if (auto status = in.status(); !status) return corrupt(status.error().message);
    in.get("image", config.image);
    get_optional_list(in, value, "entrypoint", config.entrypoint);
    get_optional_list(in, value, "cmd", config.cmd);
    in.get_list("env", config.env, kMaxItems);
    in.get("working_dir", config.working_dir);
    in.get("user", config.user);
    in.get("host_name", config.host_name);
    in.get("domain_name", config.domain_name);
    in.get("stop_signal", config.stop_signal);
    in.get("tty", config.tty);
    in.get("open_stdin", config.open_stdin);
    in.get("attach_stdin", config.attach_stdin);
    in.get("attach_stdout", config.attach_stdout);
    in.get("attach_stderr", config.attach_stderr);
    in.get("read_only", config.read_only);
    in.get("auto_remove", config.auto_remove);
    in.get("memory_bytes", config.memory_bytes);
    in.get("storage_bytes", config.storage_bytes);
    in.get("nano_cpus", config.nano_cpus);
    in.get("kernel", config.kernel);
    in.get("kernel_args", config.kernel_args);
    in.get("console", config.console);
    in.get("timing", config.timing);
    if (value.contains("stop_timeout_s")) in.get("stop_timeout_s", config.stop_timeout_s.emplace());
    const json* labels = in.object("labels");
    if (auto status = read_labels(labels, config.labels); !status) in.check(status);
    const auto ulimits = value.find("ulimits");
    if (ulimits != value.end() && ulimits->is_array()) {
        for (const json& item : *ulimits) {
            Ulimit& limit = config.ulimits.emplace_back();
            JsonReader reader(item, "ulimits");
            reader.get("name", limit.name);
            reader.get("soft", limit.soft);
            reader.get("hard", limit.hard);
            in.check(reader.status());
        }
    }
    if (auto status = in.status(); !status) return corrupt(status.error().message);
    return config;
}

}  // namespace drupe::engine
