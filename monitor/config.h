#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "guest-init/protocol.h"

namespace drupe {

/// How the machine's hardware is told to its kernel. Never both: devices would be probed twice.
enum class HardwareDescription : uint8_t {
    kDeviceTree,  ///< A flattened device tree (SETUP_DTB): kernels with CONFIG_OF, ours.
    kMpTable,     ///< MP table and `virtio_mmio.device=`: any other kernel.
};

/// A layered disk, as descriptors. index_fd and layer_fds are read-only; the top is read-write.
struct DiskConfig {
    int index_fd = -1;           ///< Merged index of the chain.
    std::vector<int> layer_fds;  ///< Sealed layers, the lowest first: the index's numbering.
    int top_data_fd = -1;        ///< Writable top; -1: the disk is read-only.
    int top_meta_fd = -1;
    uint64_t max_top_bytes = 0;  ///< What the top may occupy on the host; 0: no limit.
};

/// Where the workload's output is kept: json-file lines, over the descriptors in turn.
struct LogConfig {
    std::vector<int>
        fds;  ///< None: nothing is kept. At most 20. Opened O_RDWR, empty or to be appended to.
    uint64_t max_file_bytes =
        0;  ///< At this size the next descriptor is truncated and used. 0: no limit.
};

/// Descriptors that the workload's streams start out connected to; -1 where there is none.
/// Pipes or sockets, used non-blocking, closed when the stream ends.
struct StdioConfig {
    int stdin_fd = -1;
    int stdout_fd = -1;
    int stderr_fd = -1;
};

/// The two files of a snapshot (docs/formats/snapshot.md), as descriptors; -1: none.
struct SnapshotConfig {
    int state_fd = -1;
    int memory_fd = -1;
    bool verify = false;  ///< Its memory's checksums are looked at before it is used.
    [[nodiscard]] bool given() const { return state_fd >= 0; }
};

/// All that a drupe-vmm is told, once, as JSON on a descriptor. Every other descriptor it uses is
/// named here; it opens nothing. The engine that writes it is trusted; parsing is strict all the
/// same.
struct MonitorConfig {
    std::string id;  ///< The container's, 64 hex digits: for messages.

    uint64_t memory_bytes = 0;  ///< Guest RAM, a multiple of 2 MiB, at least 64 MiB.
    uint32_t vcpus = 1;         ///< 1 to 32.
    int kvm_fd = -1;            ///< /dev/kvm.
    int kernel_fd = -1;
    int initrd_fd = -1;
    HardwareDescription hardware = HardwareDescription::kDeviceTree;
    std::string kernel_args;  ///< Appended to the command line that the monitor makes.
    std::string kernel_load;  ///< "read" (default), "map": docs/adr/0002-kernel-loading.md.

    /// Read-only files. The machine goes on from there instead of booting. If they can't be used it
    /// boots all the same, and ExitRecord::marks has "template_refused"; without a kernel
    /// (kernel_fd and initrd_fd -1) that is an error.
    SnapshotConfig restore;
    /// A file: which of its pages are needed soon (vmm/snapshot/working_set.h); -1: unknown.
    int working_set_fd = -1;
    /// Empty, writable files. The machine becomes a template: it boots, is saved when its guest has
    /// said Hello, and ends ("saved"). It has neither disk nor workload.
    SnapshotConfig save;

    /// A SOCK_SEQPACKET socket. The machine is built and waits there for its container
    /// (assignment.h); its end before that is the machine's. Of the rest only id, memory, vcpus,
    /// kvm_fd and restore are given then. -1: no waiting.
    int standby_fd = -1;

    /// The monitor's own /proc/PID, to open its pagemap; closed at once. It is the jail's to make
    /// (JailSpec::own_process_fd). -1: memory that is idle isn't given back.
    int own_process_fd = -1;

    /// The monitor's memory may be swapped out: its cgroup doesn't forbid it.
    bool may_swap = true;

    int console_fd = -1;  ///< The kernel's log goes here; -1: no console, no 8250.
    DiskConfig root_disk;
    /// By how much the root's file system may outgrow the image's, as its guest sees it; 0: as
    /// large as its disk is.
    uint64_t storage_bytes = 0;
    uint32_t spare_disks = 1;  ///< Empty virtio-blk slots, 0 to 6.

    int control_fd = -1;  ///< A bound SOCK_SEQPACKET Unix socket; the monitor listens on it.
    int exit_record_fd =
        -1;            ///< A file: one JSON object is written to it at the end. See exit_record.h.
    int lock_fd = -1;  ///< Held open (with its flock) as long as the monitor lives; -1: none.
    LogConfig log;
    StdioConfig stdio;
    bool stdin_once = false;  ///< The first client's end of input is the workload's.

    protocol::Root root;
    protocol::Identity identity;
    protocol::Start workload;

    /// CLOCK_MONOTONIC ns at which the monitor was started, by its parent; 0: unknown.
    uint64_t launched_ns = 0;
    bool timing = false;  ///< Read KVM's statistics at the marks (costs some system calls).
};

/// Calls each() with every descriptor's number that a configuration names, always in the same
/// order.
void for_each_descriptor(MonitorConfig& config, const std::function<void(int&)>& each);

[[nodiscard]] std::string to_json(const MonitorConfig& config);
/// kInvalid, naming the member, if the text isn't exactly a MonitorConfig.
[[nodiscard]] Result<MonitorConfig> parse_monitor_config(std::string_view json);

}  // namespace drupe
