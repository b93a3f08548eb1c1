#pragma once

#include "base/fd.h"
#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe::init {

/// Who the machine is: names, the files in /etc that say so, clock, randomness, loopback interface.
/// The files live on a tmpfs of their own and are mounted over the image's, which stay untouched;
/// they can be rewritten under a running workload.
class IdentityFiles {
  public:
    /// Mounts the tmpfs at `where`; before enter_root(). Others may make directories in it.
    [[nodiscard]] static Result<IdentityFiles> create(const std::string& where);
    IdentityFiles() = default;

    [[nodiscard]] Status apply(const protocol::Identity& identity);

  private:
    explicit IdentityFiles(Fd directory) : directory_(std::move(directory)) {}
    [[nodiscard]] Status put(const char* name, const std::string& text) const;

    Fd directory_;
    bool mounted_ = false;
    bool machine_id_ = false;
};

/// The same identity's other half: kernel state. Each part that fails is an error, after all were
/// tried.
[[nodiscard]] Status apply_to_kernel(const protocol::Identity& identity);

/// The texts of the files.
[[nodiscard]] std::string hosts_text(const protocol::Identity& identity);
[[nodiscard]] std::string resolv_conf_text(const protocol::Identity& identity);

}  // namespace drupe::init
