#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"
#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::engine {

// What a configuration's options are for the guest. Each error is kInvalid and names its option.

/// Docker's default capabilities with cap_add and cap_drop, or all of them if it is privileged; bit
/// N is capability N.
[[nodiscard]] Result<uint64_t> capabilities_of(const ContainerConfig& config);

/// "size=64m,mode=1777,ro": Docker's defaults (rw,noexec,nosuid,nodev) under them.
[[nodiscard]] Result<protocol::TmpfsMount> parse_tmpfs(const std::string& path,
                                                       std::string_view options);
/// "net/core/somaxconn=1024" of "net.core.somaxconn" (or with slashes) and its value.
[[nodiscard]] Result<std::string> sysctl_setting(const std::string& name, const std::string& value);

/// Lines of /etc/resolv.conf.
[[nodiscard]] Result<std::vector<std::string>> resolv_conf_of(const ContainerConfig& config);
/// Lines of /etc/hosts for extra_hosts.
[[nodiscard]] Result<std::vector<std::string>> extra_host_lines(const ContainerConfig& config);

/// Writes all of the above that is the workload's into its order.
[[nodiscard]] Status apply_guest_options(const ContainerConfig& config, protocol::Start& workload);

/// Whether all of them can be understood, and pids_limit, shm_bytes and log options are in range.
[[nodiscard]] Status validate_guest_options(const ContainerConfig& config);

}  // namespace drupe::engine
