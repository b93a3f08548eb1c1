#include "monitor/config.h"

#include "base/json_reader.h"
#include "monitor/config_json.h"

namespace drupe {
namespace {

using nlohmann::json;

constexpr size_t kMaxLayers = 1024;
constexpr size_t kMaxLogFiles = 20;
constexpr uint64_t kMiB = 1 << 20;

// Bytes aren't text: entropy travels as hexadecimal digits.
std::string to_hex(const std::string& bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (const char c : bytes) {
        hex += kDigits[static_cast<uint8_t>(c) >> 4];
        hex += kDigits[static_cast<uint8_t>(c) & 15];
    }
    return hex;
}

bool from_hex(const std::string& hex, std::string& bytes) {
    if (hex.size() % 2 != 0) return false;
    const auto digit = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    bytes.clear();
    for (size_t i = 0; i < hex.size(); i += 2) {
        const int high = digit(hex[i]);
        const int low = digit(hex[i + 1]);
        if (high < 0 || low < 0) return false;
        bytes += static_cast<char>(high << 4 | low);
    }
    return true;
}

json identity_to_json(const protocol::Identity& identity) {
    return {{"host_name", identity.host_name},
            {"domain_name", identity.domain_name},
            {"hosts", identity.hosts},
            {"resolv_conf", identity.resolv_conf},
            {"machine_id", identity.machine_id},
            {"entropy", to_hex(identity.entropy)},
            {"realtime_ns", identity.realtime_ns}};
}

Status identity_from_json(const json& value, protocol::Identity& identity) {
    JsonReader in(value, "identity");
    in.get("host_name", identity.host_name);
    in.get("domain_name", identity.domain_name);
    in.get_list("hosts", identity.hosts, protocol::kMaxListItems);
    in.get_list("resolv_conf", identity.resolv_conf, protocol::kMaxListItems);
    in.get("machine_id", identity.machine_id);
    std::string entropy;
    in.get("entropy", entropy);
    if (!from_hex(entropy, identity.entropy)) in.fail("entropy");
    in.get("realtime_ns", identity.realtime_ns);
    return in.status();
}

json root_to_json(const MonitorConfig& config) {
    return {{"index_fd", config.root_disk.index_fd},
            {"layer_fds", config.root_disk.layer_fds},
            {"top_data_fd", config.root_disk.top_data_fd},
            {"top_meta_fd", config.root_disk.top_meta_fd},
            {"max_top_bytes", config.root_disk.max_top_bytes},
            {"storage_bytes", config.storage_bytes},
            {"disk", config.root.disk},
            {"read_only", config.root.read_only},
            {"discard_changes", config.root.discard_changes}};
}

Status root_from_json(const json& value, MonitorConfig& config) {
    JsonReader in(value, "root");
    in.get("index_fd", config.root_disk.index_fd);
    in.get_list("layer_fds", config.root_disk.layer_fds, kMaxLayers);
    in.get("top_data_fd", config.root_disk.top_data_fd);
    in.get("top_meta_fd", config.root_disk.top_meta_fd);
    in.get("max_top_bytes", config.root_disk.max_top_bytes);
    in.get("storage_bytes", config.storage_bytes);
    in.get("disk", config.root.disk);
    in.get("read_only", config.root.read_only);
    in.get("discard_changes", config.root.discard_changes);
    return in.status();
}

json io_to_json(const MonitorConfig& config) {
    return {{"console_fd", config.console_fd},
            {"control_fd", config.control_fd},
            {"exit_record_fd", config.exit_record_fd},
            {"lock_fd", config.lock_fd},
            {"working_set_fd", config.working_set_fd},
            {"standby_fd", config.standby_fd},
            {"own_process_fd", config.own_process_fd},
            {"may_swap", config.may_swap},
            {"log_fds", config.log.fds},
            {"log_max_file_bytes", config.log.max_file_bytes},
            {"stdin_once", config.stdin_once},
            {"stdin_fd", config.stdio.stdin_fd},
            {"stdout_fd", config.stdio.stdout_fd},
            {"stderr_fd", config.stdio.stderr_fd}};
}

Status io_from_json(const json& value, MonitorConfig& config) {
    JsonReader in(value, "io");
    in.get("console_fd", config.console_fd);
    in.get("control_fd", config.control_fd);
    in.get("exit_record_fd", config.exit_record_fd);
    in.get("lock_fd", config.lock_fd);
    in.get("working_set_fd", config.working_set_fd);
    in.get("standby_fd", config.standby_fd);
    in.get("own_process_fd", config.own_process_fd);
    in.get("may_swap", config.may_swap);
    in.get_list("log_fds", config.log.fds, kMaxLogFiles);
    in.get("log_max_file_bytes", config.log.max_file_bytes);
    in.get("stdin_once", config.stdin_once);
    in.get("stdin_fd", config.stdio.stdin_fd);
    in.get("stdout_fd", config.stdio.stdout_fd);
    in.get("stderr_fd", config.stdio.stderr_fd);
    return in.status();
}

json machine_to_json(const MonitorConfig& config) {
    return {{"memory_bytes", config.memory_bytes},
            {"vcpus", config.vcpus},
            {"kvm_fd", config.kvm_fd},
            {"kernel_fd", config.kernel_fd},
            {"initrd_fd", config.initrd_fd},
            {"device_tree", config.hardware == HardwareDescription::kDeviceTree},
            {"kernel_args", config.kernel_args},
            {"kernel_load", config.kernel_load},
            {"spare_disks", config.spare_disks}};
}

Status machine_from_json(const json& value, MonitorConfig& config) {
    JsonReader in(value, "machine");
    bool device_tree = true;
    in.get("memory_bytes", config.memory_bytes);
    in.get("vcpus", config.vcpus);
    in.get("kvm_fd", config.kvm_fd);
    in.get("kernel_fd", config.kernel_fd);
    in.get("initrd_fd", config.initrd_fd);
    in.get("device_tree", device_tree);
    in.get("kernel_args", config.kernel_args);
    in.get("kernel_load", config.kernel_load);
    in.get("spare_disks", config.spare_disks);
    config.hardware =
        device_tree ? HardwareDescription::kDeviceTree : HardwareDescription::kMpTable;
    if (config.memory_bytes < 64 * kMiB || config.memory_bytes % (2 * kMiB) != 0)
        in.fail("memory_bytes");
    if (config.vcpus < 1 || config.vcpus > 32) in.fail("vcpus");
    if (config.kvm_fd < 0) in.fail("kvm_fd");
    if (config.kernel_fd < 0 && !config.restore.given()) in.fail("kernel_fd");
    if (config.initrd_fd < 0 && config.kernel_fd >= 0) in.fail("initrd_fd");
    if (config.spare_disks > 6) in.fail("spare_disks");
    return in.status();
}

json snapshot_to_json(const SnapshotConfig& snapshot) {
    return {{"state_fd", snapshot.state_fd},
            {"memory_fd", snapshot.memory_fd},
            {"verify", snapshot.verify}};
}

Status snapshot_from_json(const json& value, SnapshotConfig& snapshot) {
    JsonReader in(value, "snapshot");
    in.get("state_fd", snapshot.state_fd);
    in.get("memory_fd", snapshot.memory_fd);
    in.get("verify", snapshot.verify);
    if ((snapshot.state_fd < 0) != (snapshot.memory_fd < 0)) in.fail("memory_fd");
    return in.status();
}

Status tmpfs_from_json(const json& value, protocol::Start& start) {
    const auto found = value.find("tmpfs");
    if (found == value.end()) return ok();
    JsonReader in(value, "start");
    if (!found->is_array() || found->size() > protocol::kMaxTmpfsMounts) in.fail("tmpfs");
    TRY(in.status());
    for (const json& item : *found) {
        protocol::TmpfsMount& mount = start.tmpfs.emplace_back();
        JsonReader one(item, "start.tmpfs");
        one.get("path", mount.path);
        one.get("flags", mount.flags);
        one.get("options", mount.options);
        TRY(one.status());
    }
    return ok();
}

}  // namespace

json start_to_json(const protocol::Start& start) {
    json limits = json::array();
    for (const auto& limit : start.limits)
        limits.push_back(
            {{"resource", limit.resource}, {"soft", limit.soft}, {"hard", limit.hard}});
    json tmpfs = json::array();
    for (const auto& mount : start.tmpfs)
        tmpfs.push_back({{"path", mount.path}, {"flags", mount.flags}, {"options", mount.options}});
    return {{"capabilities", start.capabilities},
            {"init", start.init},
            {"shm_bytes", start.shm_bytes},
            {"tmpfs", tmpfs},
            {"sysctls", start.sysctls},
            {"session", start.session},
            {"argv", start.argv},
            {"env", start.env},
            {"cwd", start.cwd},
            {"user", start.user},
            {"groups", start.groups},
            {"tty", start.tty},
            {"stdin_open", start.stdin_open},
            {"rows", start.rows},
            {"columns", start.columns},
            {"limits", limits},
            {"memory_max", start.memory_max},
            {"pids_max", start.pids_max},
            {"umask", start.umask},
            {"builtin", start.builtin}};
}

Status start_from_json(const json& value, protocol::Start& start) {
    JsonReader in(value, "start");
    in.get("session", start.session);
    in.get_list("argv", start.argv, protocol::kMaxListItems);
    in.get_list("env", start.env, protocol::kMaxListItems);
    in.get("cwd", start.cwd);
    in.get("user", start.user);
    in.get_list("groups", start.groups, protocol::kMaxListItems);
    in.get("tty", start.tty);
    in.get("stdin_open", start.stdin_open);
    in.get("rows", start.rows);
    in.get("columns", start.columns);
    in.get("memory_max", start.memory_max);
    in.get("pids_max", start.pids_max);
    in.get("umask", start.umask);
    auto builtin = static_cast<uint8_t>(protocol::Builtin::kNone);
    in.get("builtin", builtin);
    if (builtin > static_cast<uint8_t>(protocol::kLastBuiltin)) in.fail("builtin");
    start.builtin = static_cast<protocol::Builtin>(builtin);
    if (start.argv.empty()) in.fail("argv");
    TRY(in.status());
    in.get("capabilities", start.capabilities);
    in.get("init", start.init);
    in.get("shm_bytes", start.shm_bytes);
    in.get_list("sysctls", start.sysctls, protocol::kMaxListItems);
    TRY(in.status());
    TRY(tmpfs_from_json(value, start));
    if (!value.contains("limits")) return ok();
    const json& limits = value["limits"];
    if (!limits.is_array() || limits.size() > 64) in.fail("limits");
    for (const json& item : limits.is_array() ? limits : json::array()) {
        protocol::ResourceLimit limit;
        JsonReader one(item, "start.limits");
        one.get("resource", limit.resource);
        one.get("soft", limit.soft);
        one.get("hard", limit.hard);
        TRY(one.status());
        start.limits.push_back(limit);
    }
    return in.status();
}

void for_each_descriptor(MonitorConfig& config, const std::function<void(int&)>& each) {
    const auto use = [&](int& fd) {
        if (fd >= 0) each(fd);
    };
    for (int* const fd : {&config.kvm_fd, &config.kernel_fd, &config.initrd_fd,
                          &config.restore.state_fd, &config.restore.memory_fd,
                          &config.working_set_fd, &config.save.state_fd, &config.save.memory_fd,
                          &config.standby_fd, &config.console_fd, &config.root_disk.index_fd})
        use(*fd);
    for (int& layer : config.root_disk.layer_fds) use(layer);
    for (int* const fd : {&config.root_disk.top_data_fd, &config.root_disk.top_meta_fd,
                          &config.control_fd, &config.exit_record_fd, &config.lock_fd})
        use(*fd);
    for (int& log : config.log.fds) use(log);
    for (int* const fd : {&config.stdio.stdin_fd, &config.stdio.stdout_fd, &config.stdio.stderr_fd})
        use(*fd);
}

std::string to_json(const MonitorConfig& config) {
    return dump_json({{"id", config.id},
                      {"machine", machine_to_json(config)},
                      {"restore", snapshot_to_json(config.restore)},
                      {"save", snapshot_to_json(config.save)},
                      {"root", root_to_json(config)},
                      {"io", io_to_json(config)},
                      {"identity", identity_to_json(config.identity)},
                      {"workload", start_to_json(config.workload)},
                      {"launched_ns", config.launched_ns},
                      {"timing", config.timing}});
}

Result<MonitorConfig> parse_monitor_config(std::string_view text) {
    auto parsed = parse_json(text);
    if (!parsed) return std::move(parsed).error().wrap("monitor configuration");
    const json& value = parsed.value();
    MonitorConfig config;
    JsonReader in(value);
    in.get("id", config.id);
    in.get("launched_ns", config.launched_ns);
    in.get("timing", config.timing);
    const auto section = [&](const char* name, auto&& read) {
        const json* object = in.object(name);
        if (object == nullptr) return in.fail(name);
        in.check(read(*object));
    };
    section("restore", [&](const json& o) { return snapshot_from_json(o, config.restore); });
    section("save", [&](const json& o) { return snapshot_from_json(o, config.save); });
    section("machine", [&](const json& o) { return machine_from_json(o, config); });
    section("root", [&](const json& o) { return root_from_json(o, config); });
    section("io", [&](const json& o) { return io_from_json(o, config); });
    section("identity", [&](const json& o) { return identity_from_json(o, config.identity); });
    if (!config.save.given() && config.standby_fd < 0)
        section("workload", [&](const json& o) { return start_from_json(o, config.workload); });
    if (auto status = in.status(); !status)
        return std::move(status).error().wrap("monitor configuration");
    return config;
}

}  // namespace drupe
