#include <fmt/format.h>

#include <array>
#include <cctype>
#include <optional>

#include "api/engine/guest_options.h"

namespace drupe::engine {
namespace {

/// By number, without CAP_ (linux/capability.h).
constexpr std::array<std::string_view, 41> kNames{"CHOWN",
                                                  "DAC_OVERRIDE",
                                                  "DAC_READ_SEARCH",
                                                  "FOWNER",
                                                  "FSETID",
                                                  "KILL",
                                                  "SETGID",
                                                  "SETUID",
                                                  "SETPCAP",
                                                  "LINUX_IMMUTABLE",
                                                  "NET_BIND_SERVICE",
                                                  "NET_BROADCAST",
                                                  "NET_ADMIN",
                                                  "NET_RAW",
                                                  "IPC_LOCK",
                                                  "IPC_OWNER",
                                                  "SYS_MODULE",
                                                  "SYS_RAWIO",
                                                  "SYS_CHROOT",
                                                  "SYS_PTRACE",
                                                  "SYS_PACCT",
                                                  "SYS_ADMIN",
                                                  "SYS_BOOT",
                                                  "SYS_NICE",
                                                  "SYS_RESOURCE",
                                                  "SYS_TIME",
                                                  "SYS_TTY_CONFIG",
                                                  "MKNOD",
                                                  "LEASE",
                                                  "AUDIT_WRITE",
                                                  "AUDIT_CONTROL",
                                                  "SETFCAP",
                                                  "MAC_OVERRIDE",
                                                  "MAC_ADMIN",
                                                  "SYSLOG",
                                                  "WAKE_ALARM",
                                                  "BLOCK_SUSPEND",
                                                  "AUDIT_READ",
                                                  "PERFMON",
                                                  "BPF",
                                                  "CHECKPOINT_RESTORE"};

/// Docker's.
constexpr std::array<std::string_view, 14> kDefaults{
    "CHOWN",   "DAC_OVERRIDE", "FSETID",           "FOWNER",
    "MKNOD",   "NET_RAW",      "SETGID",           "SETUID",
    "SETFCAP", "SETPCAP",      "NET_BIND_SERVICE", "SYS_CHROOT",
    "KILL",    "AUDIT_WRITE"};

constexpr uint64_t kAll = (uint64_t{1} << kNames.size()) - 1;

std::optional<uint64_t> bit_of(std::string_view name) {
    for (size_t i = 0; i < kNames.size(); ++i) {
        if (kNames[i] == name) return uint64_t{1} << i;
    }
    return std::nullopt;
}

struct Change {
    uint64_t bits = 0;
    bool all = false;
};

Result<Change> read_list(const std::vector<std::string>& list, std::string_view option) {
    Change change;
    for (const std::string& text : list) {
        std::string name;
        for (const char c : text) {
            name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        }
        if (name == "ALL" || name == "CAP_ALL") {
            change.all = true;
            continue;
        }
        if (name.starts_with("CAP_")) name.erase(0, 4);
        const auto bit = bit_of(name);
        if (!bit) {
            return Error{ErrorCode::kInvalid,
                         fmt::format("{}: unknown capability: \"{}\"", option, text.substr(0, 64))};
        }
        change.bits |= *bit;
    }
    return change;
}

}  // namespace

// As moby: --cap-drop ALL leaves what was added by name, --cap-add ALL what wasn't dropped by name.
Result<uint64_t> capabilities_of(const ContainerConfig& config) {
    TRY_ASSIGN(const Change add, read_list(config.cap_add, "--cap-add"));
    TRY_ASSIGN(const Change drop, read_list(config.cap_drop, "--cap-drop"));
    // Those that a newer kernel adds, too.
    if (config.privileged) return protocol::kAllCapabilities;
    if (add.all) return kAll & ~drop.bits;
    if (drop.all) return add.bits;
    uint64_t defaults = 0;
    for (const std::string_view name : kDefaults) defaults |= bit_of(name).value_or(0);
    return (defaults & ~drop.bits) | add.bits;
}

}  // namespace drupe::engine
