#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::init {

/// For tests: the real drupe-init in namespaces of its own instead of a virtual machine, with Unix
/// sockets instead of vsock and a tmpfs that holds busybox instead of the disk. Needs root.
class ScratchGuest {
  public:
    [[nodiscard]] static Result<std::unique_ptr<ScratchGuest>> start();
    ~ScratchGuest();

    /// Readable when the guest has made a control connection: take it with accept_control().
    [[nodiscard]] int broker() const { return broker_.get(); }
    [[nodiscard]] Result<Fd> accept_control() const;
    /// A connection to the guest's stream port.
    [[nodiscard]] Result<Fd> connect_stream() const;
    /// Waits for drupe-init's own end: its exit status, 0 after a Shutdown.
    [[nodiscard]] int wait();

  private:
    ScratchGuest() = default;
    [[noreturn]] void run_guest(Fd broker, Fd listener) const;

    std::string directory_;
    Fd broker_;
    pid_t pid_ = -1;
};

}  // namespace drupe::init
