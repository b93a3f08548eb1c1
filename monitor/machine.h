#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/result.h"
#include "devices/serial/serial.h"
#include "devices/virtio/mmio_transport.h"
#include "devices/virtio_balloon/virtio_balloon.h"
#include "devices/virtio_blk/virtio_blk.h"
#include "devices/virtio_vsock/virtio_vsock.h"
#include "monitor/config.h"
#include "monitor/container.h"
#include "monitor/idle_memory.h"
#include "monitor/snapshot_writer.h"
#include "monitor/timeline.h"
#include "vmm/snapshot/page_runs.h"
#include "vmm/snapshot/state_file.h"
#include "vmm/vm.h"
#include "vmm/vmgenid.h"

namespace drupe::imagefs {
class LayeredDisk;
}  // namespace drupe::imagefs

namespace drupe {

/// The composition root: a Vm with its devices, as a MonitorConfig describes it. The only place
/// that names both.
///
/// Threads: the main loop (vsock, rng, balloon, and everything that isn't a device), the block
/// loop, one thread a vCPU.
///
///     create -> [listen_agent] -> start -> stop -> destroyed
class Machine final : public ContainerHost {
  public:
    /// Called at the start of each thread that isn't the main one, before it does anything: the
    /// place for its seccomp filter. A failure stops the machine.
    struct ThreadHooks {
        std::function<Status()> on_vcpu;
        std::function<Status()> on_block;
    };

    /// Builds the machine, and restores it from a snapshot or loads its kernel. The loop outlives
    /// the machine. Marks: vm_created, memory_ready, prefetched, restored or kernel_loaded,
    /// template_refused.
    [[nodiscard]] static Result<std::unique_ptr<Machine>> create(EventLoop& loop,
                                                                 const MonitorConfig& config,
                                                                 Timeline& timeline);
    ~Machine() override;

    /// accept gets the host's end of each control connection the guest makes; on the loop.
    [[nodiscard]] Status listen_agent(const std::function<Status(Fd)>& accept);
    /// Enters the guest. on_stop is posted to the loop once.
    [[nodiscard]] Status start(ThreadHooks hooks, std::function<void(const Stop&)> on_stop);
    /// Ends the vCPUs, then the block loop; the root disk is closed cleanly. Blocks. Once start()
    /// was called.
    void stop();
    /// What a stop was about, with what the guest's kernel said if it panicked. Once it has
    /// stopped.
    [[nodiscard]] std::string explain(const Stop& stop) const;
    /// What statistics() has counted so far was nobody's.
    void count_from_here();
    [[nodiscard]] uint64_t first_run_ns() const { return vm_->first_run_ns(); }

    [[nodiscard]] Result<Fd> connect_guest(uint32_t port) override;
    [[nodiscard]] Result<uint64_t> attach_root_disk() override;
    void release_root_disk(std::function<void(const Status&)> done) override;
    void replace_root_disk(control::Disk disk, std::function<void(const Status&)> done) override;
    void pause(std::function<void(const Status&)> done) override;
    [[nodiscard]] Status resume() override;
    void save(control::Snapshot files, std::string container_state, SaveSteps steps) override;
    void write_now() override;
    void rest_when_idle() override { idle_memory_->watch(); }
    [[nodiscard]] const std::string& container_state() const override { return container_state_; }
    [[nodiscard]] std::map<std::string, uint64_t> statistics() const override;
    [[nodiscard]] uint64_t free_page_reports() const override;
    [[nodiscard]] uint64_t guest_faults() const override;
    [[nodiscard]] std::string last_fault() const override;
    [[nodiscard]] bool disk_waits_for_room() const override;

  private:
    Machine(EventLoop& loop, const MonitorConfig& config) : loop_(loop), config_(config) {}

    [[nodiscard]] static Result<std::unique_ptr<Machine>> restore_or_boot(
        EventLoop& loop, const MonitorConfig& config, Timeline& timeline, const Kvm& kvm);
    enum class Origin : uint8_t { kKernel, kSnapshot };
    [[nodiscard]] static Result<std::unique_ptr<Machine>> build(EventLoop& loop,
                                                                const MonitorConfig& config,
                                                                Timeline& timeline, const Kvm& kvm,
                                                                Origin origin);
    [[nodiscard]] Status create_vm(const Kvm& kvm, Timeline& timeline);
    [[nodiscard]] Status add_devices();
    [[nodiscard]] Status add_disks();
    [[nodiscard]] Status add_virtio(std::shared_ptr<virtio::VirtioDevice> device, EventLoop& loop);
    [[nodiscard]] Status add_console();
    [[nodiscard]] Status load_kernel();
    [[nodiscard]] Status restore();
    [[nodiscard]] bool prefetch_working_set();
    [[nodiscard]] std::vector<PageRun> content_elsewhere() const;
    [[nodiscard]] Status set_vmgenid(const VmGenId& vmgenid);
    [[nodiscard]] Status renew_vmgenid(std::span<const StateSection> sections);
    [[nodiscard]] Result<std::unique_ptr<imagefs::LayeredDisk>> open_root_disk() const;
    void resume_devices(const EventLoop& loop);
    struct Gathered;
    void finish_save(Gathered& gathered);
    [[nodiscard]] Status start_writing(Gathered& gathered);
    void close_root_disk();
    void await_pause();
    void make_idle_memory(Fd pagemap);
    [[nodiscard]] bool may_rest() const;

    EventLoop& loop_;
    const MonitorConfig& config_;
    std::unique_ptr<EventLoop> block_loop_;
    std::unique_ptr<Vm> vm_;
    std::vector<std::shared_ptr<virtio::MmioTransport>> transports_;
    std::vector<std::shared_ptr<virtio::VirtioBlk>> disks_;  // the root's first
    std::shared_ptr<vsock::VsockDevice> vsock_;
    std::shared_ptr<virtio::VirtioBalloon> balloon_;
    std::shared_ptr<Serial> console_;     // null without --console
    std::optional<VmGenId> vmgenid_;      // of a guest whose device tree has it
    std::vector<PageRun> restored_runs_;  // RAM that a snapshot's memory file is mapped to
    Fd restored_file_;                    // until idle_memory_ has it
    std::thread block_thread_;
    std::function<void(const Status&)> on_paused_;  // of a pause() that isn't done
    EventLoop::Watch pause_timer_;
    std::unique_ptr<SnapshotWriter> writer_;  // of a save() whose files aren't whole yet
    std::map<std::string, uint64_t> counts_before_;
    std::string container_state_;      // of the snapshot that this machine comes from
    bool root_disk_released_ = false;  // its transport stays quiet
    bool root_disk_changes_ = false;   // from its release to its replacement
    bool saving_ = false;              // until writer_ is there, or it has failed
    std::unique_ptr<IdleMemory> idle_memory_;

    mutable Mutex fault_mutex_;
    std::string last_fault_ DRUPE_GUARDED_BY(fault_mutex_);
};

}  // namespace drupe
