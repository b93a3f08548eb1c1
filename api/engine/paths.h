#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace drupe::engine {

/// Where things are on the host.
struct Paths {
    std::string root;  ///< $DRUPE_ROOT, by default /var/lib/drupe: what survives a reboot.
    std::string run;   ///< $DRUPE_RUN, by default /run/drupe, or ROOT/run with another root.

    // Parts of the installation; empty: not found.
    std::string monitor;   ///< drupe-vmm
    std::string importer;  ///< drupe-import
    std::string exporter;  ///< drupe-export
    std::string initrd;    ///< initramfs.cpio, with drupe-init in it
    std::string kernel;    ///< vmlinux
    std::string busybox;   ///< A static busybox, for the built-in image
    std::string kvm = "/dev/kvm";

    [[nodiscard]] std::string container_dir(std::string_view id) const {
        return root + "/containers/" + std::string(id);
    }
    [[nodiscard]] std::string log_file(std::string_view id) const {
        return container_dir(id) + "/" + std::string(id) + "-json.log";
    }
    [[nodiscard]] std::string exit_record(std::string_view id) const {
        return container_dir(id) + "/exit.json";
    }
    /// What the monitor itself has to say.
    [[nodiscard]] std::string monitor_log(std::string_view id) const {
        return container_dir(id) + "/monitor.log";
    }
    /// The same two of a machine that was started for the container's files alone.
    [[nodiscard]] std::string files_exit_record(std::string_view id) const {
        return container_dir(id) + "/files-exit.json";
    }
    [[nodiscard]] std::string files_monitor_log(std::string_view id) const {
        return container_dir(id) + "/files-monitor.log";
    }
    [[nodiscard]] std::string console_file(std::string_view id) const {
        return container_dir(id) + "/console.log";
    }
    /// Where files of snapshots lie that have no name.
    [[nodiscard]] std::string snapshots_dir() const { return root + "/snapshots"; }
    /// Of machines that were made before their containers (standbys.h).
    [[nodiscard]] std::string standbys_dir() const { return run + "/standbys"; }
    [[nodiscard]] std::string run_dir(std::string_view id) const {
        return run + "/vm/" + std::string(id);
    }
};

/// From the environment ($DRUPE_ROOT, $DRUPE_RUN, $DRUPE_KERNEL, $DRUPE_BUSYBOX, $DRUPE_VMM,
/// $DRUPE_IMPORT, $DRUPE_EXPORT, $DRUPE_INITRD) and from where this program's file lies. Checks
/// nothing but that files exist.
[[nodiscard]] Result<Paths> find_paths();

/// Makes a folder and its parents; no error if it is there.
[[nodiscard]] Status make_folders(const std::string& path, unsigned mode);

}  // namespace drupe::engine
