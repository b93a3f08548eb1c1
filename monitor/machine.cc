#include "monitor/machine.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <utility>

#include "base/log.h"
#include "devices/serial/serial.h"
#include "devices/virtio_balloon/virtio_balloon.h"
#include "devices/virtio_rng/virtio_rng.h"
#include "imagefs/store/layered_disk.h"
#include "monitor/snapshot_refused.h"
#include "monitor/storage_limit.h"
#include "vmm/panic_text.h"

namespace drupe {
namespace {

// What every kernel gets. No argument here hides a device or a mitigation: only waits, probes and
// self-tests.
constexpr const char* kKernelArgs =
    "panic=-1 reboot=k tsc=reliable no_timer_check cryptomgr.notests rcupdate.rcu_expedited=1 "
    "noreplace-smp swiotlb=noforce";
constexpr const char* kSilentArgs = " quiet loglevel=0 8250.nr_uarts=0";
constexpr const char* kConsoleArgs = " console=ttyS0 8250.nr_uarts=1";

std::string kernel_command_line(const MonitorConfig& config) {
    std::string line = kKernelArgs;
    line += config.console_fd >= 0 ? kConsoleArgs : kSilentArgs;
    if (!config.kernel_args.empty()) line += " " + config.kernel_args;
    return line;
}

/// A terminal is refused: its open file description is its user's, whom O_NONBLOCK would surprise.
bool is_pipe_or_file(int fd) {
    struct stat stat {};
    if (::fstat(fd, &stat) < 0) return false;
    return S_ISFIFO(stat.st_mode) || S_ISSOCK(stat.st_mode) || S_ISREG(stat.st_mode);
}

imagefs::DiskFiles disk_files(const MonitorConfig& monitor) {
    const DiskConfig& config = monitor.root_disk;
    imagefs::DiskFiles files;
    files.is_volatile = monitor.root.discard_changes;
    files.index = Fd(config.index_fd);
    for (const int fd : config.layer_fds) files.layers.emplace_back(fd);
    files.top_data = Fd(config.top_data_fd);
    files.top_meta = Fd(config.top_meta_fd);
    files.max_top_bytes = config.max_top_bytes;
    return files;
}

Fd open_pagemap(const Fd& own_process) {
    if (!own_process.valid()) return {};
    Fd pagemap(::openat(own_process.get(), "pagemap", O_RDONLY | O_CLOEXEC));
    if (!pagemap.valid())
        log(LogLevel::kWarn, "{}: idle memory isn't given back", os_error("open pagemap").message);
    return pagemap;
}

std::unique_ptr<imagefs::DiskIo> root_disk_io() {
    auto ring = imagefs::make_ring_io();
    if (ring) return std::move(ring).value();
    log(LogLevel::kWarn, "no io_uring ({}): the disk's requests are done one after the other",
        ring.error().message);
    return imagefs::make_plain_io();
}

}  // namespace

Result<std::unique_ptr<Machine>> Machine::create(EventLoop& loop, const MonitorConfig& config,
                                                 Timeline& timeline) {
    // While nothing hostile was looked at yet: by this folder all of /proc can be reached.
    Fd pagemap = open_pagemap(Fd(config.own_process_fd));
    TRY_ASSIGN(const Kvm kvm, Kvm::create(Fd(config.kvm_fd)));
    TRY_ASSIGN(auto machine, restore_or_boot(loop, config, timeline, kvm));
    machine->make_idle_memory(std::move(pagemap));
    return machine;
}

Result<std::unique_ptr<Machine>> Machine::restore_or_boot(EventLoop& loop,
                                                          const MonitorConfig& config,
                                                          Timeline& timeline, const Kvm& kvm) {
    if (config.restore.given()) {
        auto restored = build(loop, config, timeline, kvm, Origin::kSnapshot);
        if (restored) return restored;
        if (config.kernel_fd < 0) return std::move(restored).error().wrap(kSnapshotRefused);
        log(LogLevel::kWarn, "the template can't be used, the machine boots: {}",
            restored.error().message);
        timeline.mark("template_refused");
    }
    return build(loop, config, timeline, kvm, Origin::kKernel);
}

Result<std::unique_ptr<Machine>> Machine::build(EventLoop& loop, const MonitorConfig& config,
                                                Timeline& timeline, const Kvm& kvm, Origin origin) {
    auto machine = std::unique_ptr<Machine>(new Machine(loop, config));
    TRY(machine->create_vm(kvm, timeline));
    TRY(machine->add_devices());
    timeline.mark("memory_ready");
    if (origin == Origin::kSnapshot) {
        TRY(machine->restore());
        if (machine->prefetch_working_set()) timeline.mark("prefetched");
        timeline.mark("restored");
    } else {
        TRY(machine->load_kernel());
        timeline.mark("kernel_loaded");
    }
    return machine;
}

Machine::~Machine() {
    if (block_thread_.joinable()) stop();
}

Status Machine::create_vm(const Kvm& kvm, Timeline& timeline) {
    VmConfig vm;
    vm.memory_bytes = config_.memory_bytes;
    vm.vcpus = config_.vcpus;
    vm.statistics = config_.timing || config_.standby_fd >= 0;
    TRY_ASSIGN(vm_, Vm::create(kvm, vm));
    timeline.mark("vm_created");
    return ok();
}

// The order is the guest's: its first disk, /dev/vda, is the first slot's.
Status Machine::add_devices() {
    TRY(add_disks());
    vsock::Options options;
    options.guest_cid = protocol::kGuestCid;
    vsock_ = std::make_shared<vsock::VsockDevice>(loop_, options);
    TRY(add_virtio(vsock_, loop_));
    TRY(add_virtio(virtio::make_virtio_rng("rng", virtio::system_entropy()), loop_));
    balloon_ = virtio::make_virtio_balloon("balloon");
    TRY(add_virtio(balloon_, loop_));
    return config_.console_fd >= 0 ? add_console() : ok();
}

/// The root disk's slot, with an io_uring where the host lets us have one, then the spare ones.
Status Machine::add_disks() {
    block_loop_ = make_event_loop();
    for (uint32_t i = 0; i <= config_.spare_disks; ++i) {
        virtio::VirtioBlk::Options options;
        options.name = "blk" + std::to_string(i);
        options.serial = "drupe-" + options.name;
        options.loop = block_loop_.get();
        if (i == 0) options.io = root_disk_io();
        disks_.push_back(virtio::make_virtio_blk(std::move(options)));
        TRY(add_virtio(disks_.back(), *block_loop_));
    }
    return ok();
}

/// Gives a device its slot: registers on the bus, an interrupt line, a doorbell a queue.
Status Machine::add_virtio(std::shared_ptr<virtio::VirtioDevice> device, EventLoop& loop) {
    TRY_ASSIGN(const MmioSlot slot, vm_->allocate_slot());
    virtio::MmioTransport::Wiring wiring;
    wiring.loop = &loop;
    wiring.memory = &vm_->memory();
    TRY_ASSIGN(wiring.interrupt, vm_->make_interrupt(slot.gsi));
    wiring.on_fault = [this](const std::string& name, const std::string& what) {
        log(LogLevel::kWarn, "guest: {}: {}", name, what);
        const MutexLock lock(fault_mutex_);
        last_fault_ = name + ": " + what;
    };
    TRY_ASSIGN(auto transport, virtio::MmioTransport::create(std::move(device), std::move(wiring)));
    TRY(vm_->attach_mmio(slot.address, virtio::MmioTransport::kWindowBytes, transport));
    for (size_t queue = 0; queue < transport->queue_count(); ++queue) {
        const Doorbell doorbell{slot.address + virtio::MmioTransport::kNotifyOffset, 4, queue,
                                false};
        TRY(vm_->add_doorbell(doorbell, transport->notify_fd(queue)));
    }
    transports_.push_back(std::move(transport));
    return ok();
}

Status Machine::add_console() {
    Fd out(config_.console_fd);
    if (!is_pipe_or_file(out.get()))
        return Error{ErrorCode::kInvalid, "the console's descriptor must be a pipe or a file"};
    TRY(set_nonblocking(out.get(), true));
    TRY_ASSIGN(auto interrupt, vm_->make_interrupt(Serial::kIrq));
    console_ = Serial::create(loop_, std::move(out), std::move(interrupt));
    return vm_->attach_pio(Serial::kPort, Serial::kPorts, console_);
}

Status Machine::load_kernel() {
    const Fd kernel(config_.kernel_fd);
    const Fd initrd(config_.initrd_fd);
    BootConfig boot;
    boot.kernel_fd = kernel.get();
    boot.initrd_fd = initrd.get();
    boot.cmdline = kernel_command_line(config_);
    boot.devices = config_.hardware == HardwareDescription::kDeviceTree
                       ? DeviceDescription::kDeviceTree
                       : DeviceDescription::kMpTable;
    boot.loading = config_.kernel_load == "map" ? KernelLoading::kMapPrivate : KernelLoading::kRead;
    TRY(vm_->load(boot));
    if (boot.devices != DeviceDescription::kDeviceTree) return ok();
    TRY_ASSIGN(const VmGenId vmgenid, VmGenId::create(vm_->memory(), arch::kVmGenId));
    return set_vmgenid(vmgenid);
}

/// An id that no other machine has.
Status Machine::set_vmgenid(const VmGenId& vmgenid) {
    VmGenId::Id id{};
    TRY(virtio::system_entropy()(id));
    vmgenid.set(id);
    vmgenid_ = vmgenid;
    return ok();
}

void Machine::make_idle_memory(Fd pagemap) {
    IdleMemory::Parts parts{loop_, *vm_, transports_, *vsock_, [this] { return may_rest(); }};
    FoldedMemory memory(vm_->memory(), std::move(restored_file_), restored_runs_);
    idle_memory_ =
        std::make_unique<IdleMemory>(std::move(parts), std::move(memory), std::move(pagemap));
}

bool Machine::may_rest() const {
    // The console's interrupts come from the host, at any time.
    return !on_paused_ && !root_disk_changes_ && !saving_ && writer_ == nullptr &&
           console_ == nullptr && !disk_waits_for_room();
}

Status Machine::listen_agent(const std::function<Status(Fd)>& accept) {
    return vsock_->listen(protocol::kControlPort, 1, [accept]() -> Result<Fd> {
        TRY_ASSIGN(FdPair pair, make_socketpair(SOCK_STREAM | SOCK_NONBLOCK));
        TRY(accept(std::move(pair.first)));
        return std::move(pair.second);
    });
}

Status Machine::start(ThreadHooks hooks, std::function<void(const Stop&)> on_stop) {
    std::promise<Status> block_ready;
    block_thread_ = std::thread([this, &block_ready, on_block = std::move(hooks.on_block)] {
        ::prctl(PR_SET_NAME, "block");
        const Status status = on_block();
        if (status) resume_devices(*block_loop_);
        block_ready.set_value(status);
        if (status) block_loop_->run();
    });
    TRY(block_ready.get_future().get());
    resume_devices(loop_);
    VmHooks vm;
    vm.on_vcpu_thread = [on_vcpu = std::move(hooks.on_vcpu)](uint32_t) { return on_vcpu(); };
    vm.on_stop = [this, on_stop = std::move(on_stop)](const Stop& stop) {
        loop_.post([on_stop, stop] { on_stop(stop); });
    };
    vm.on_memory_wanted = [this] { idle_memory_->memory_wanted(); };
    return vm_->start(std::move(vm));
}

void Machine::stop() {
    // vCPUs first: one may wait for a loop to reset a device, and this thread's loop won't any
    // more.
    vm_->request_stop({StopReason::kRequested, ""});
    for (const auto& transport : transports_) transport->release_vcpus();
    vm_->join();
    block_loop_->post([this] {
        // Nobody waits for the requests any more; those under way end here.
        for (const auto& disk : disks_) disk->reset();
        close_root_disk();
        block_loop_->stop();
    });
    block_thread_.join();
    if (console_ != nullptr) console_->flush();
}

/// On the block loop. A disk that isn't closed is only slower to open the next time.
void Machine::close_root_disk() {
    auto* const disk = dynamic_cast<imagefs::LayeredDisk*>(disks_.front()->backend());
    if (disk == nullptr || disk->read_only() || config_.root.discard_changes) return;
    if (auto status = disk->close(); !status)
        log(LogLevel::kWarn, "close the root disk: {}", status.error().message);
}

Result<Fd> Machine::connect_guest(uint32_t port) {
    idle_memory_->wake();
    TRY_ASSIGN(FdPair pair, make_socketpair(SOCK_STREAM | SOCK_NONBLOCK));
    TRY(vsock_->connect(port, std::move(pair.second), [port](const Status& status) {
        if (!status) log(LogLevel::kDebug, "guest port {}: {}", port, status.error().message);
    }));
    return std::move(pair.first);
}

Result<std::unique_ptr<imagefs::LayeredDisk>> Machine::open_root_disk() const {
    return imagefs::LayeredDisk::open(disk_files(config_));
}

Result<uint64_t> Machine::attach_root_disk() {
    idle_memory_->wake();
    if (!container_state_.empty()) return uint64_t{0};  // it is there since before
    TRY_ASSIGN(auto disk, open_root_disk());
    uint64_t reserved_bytes = 0;
    if (config_.storage_bytes != 0 && !disk->read_only()) {
        TRY_ASSIGN(reserved_bytes, bytes_to_reserve(*disk, config_.storage_bytes));
    }
    auto shared = std::make_shared<std::unique_ptr<imagefs::LayeredDisk>>(std::move(disk));
    block_loop_->post([root = disks_.front(), shared] {
        if (auto status = root->attach(std::move(*shared)); !status)
            log(LogLevel::kError, "root disk: {}", status.error().message);
    });
    return reserved_bytes;
}

// Its transport is the first, as its slot is.
void Machine::release_root_disk(std::function<void(const Status&)> done) {
    idle_memory_->wake();
    root_disk_changes_ = true;
    transports_.front()->quiesce([this, done = std::move(done)] {
        const auto& slot = disks_.front();
        auto* const disk = dynamic_cast<imagefs::LayeredDisk*>(slot->backend());
        Status status =
            disk != nullptr ? disk->close() : Error{ErrorCode::kConflict, "there is no root disk"};
        if (status) {
            (void)slot->detach();
        } else {
            transports_.front()->resume();
        }
        loop_.post([this, done, status] {
            root_disk_released_ = root_disk_changes_ = status.has_value();
            done(status);
        });
    });
}

void Machine::replace_root_disk(control::Disk fds, std::function<void(const Status&)> done) {
    idle_memory_->wake();
    imagefs::DiskFiles files;
    files.index = std::move(fds.index);
    files.layers = std::move(fds.layers);
    files.top_data = std::move(fds.top_data);
    files.top_meta = std::move(fds.top_meta);
    files.max_top_bytes = config_.root_disk.max_top_bytes;
    files.is_volatile = config_.root.discard_changes;
    files.known_whole = true;  // this process had it all along
    auto disk = imagefs::LayeredDisk::open(std::move(files));
    if (!disk) return done(std::move(disk).error());
    auto shared = std::make_shared<std::unique_ptr<imagefs::LayeredDisk>>(std::move(disk).value());
    block_loop_->post([this, shared, done = std::move(done)] {
        const Status status = disks_.front()->attach(std::move(*shared));
        if (status) transports_.front()->resume();
        loop_.post([this, done, status] {
            root_disk_released_ = root_disk_changes_ = !status;
            done(status);
        });
    });
}

// Not by Vm::pause(): a vCPU may wait for this loop to reset a device before it can be parked.
void Machine::pause(std::function<void(const Status&)> done) {
    idle_memory_->wake();
    if (on_paused_) return done(Error{ErrorCode::kConflict, "it is being paused already"});
    if (auto status = vm_->request_pause(); !status) return done(status);
    on_paused_ = std::move(done);
    await_pause();
}

void Machine::await_pause() {
    constexpr std::chrono::milliseconds kPoll{1};
    if (!on_paused_) return;
    if (vm_->paused()) return std::exchange(on_paused_, nullptr)(ok());
    if (vm_->stopped())
        return std::exchange(on_paused_,
                             nullptr)(Error{ErrorCode::kConflict, "the machine has stopped"});
    pause_timer_ = loop_.after(kPoll, [this] { await_pause(); });
}

Status Machine::resume() {
    idle_memory_->wake();
    pause_timer_.reset();
    if (on_paused_)
        std::exchange(on_paused_, nullptr)(Error{ErrorCode::kConflict, "it was resumed meanwhile"});
    Status resumed = vm_->resume();
    write_now();
    return resumed;
}

std::string Machine::explain(const Stop& stop) const {
    if (stop.reason != StopReason::kReset && stop.reason != StopReason::kPanic) return stop.detail;
    const std::string said = find_panic_text(vm_->memory());
    return said.empty() ? stop.detail : stop.detail + ": \"" + said + "\"";
}

std::map<std::string, uint64_t> Machine::statistics() const {
    auto counts = vm_->statistics();
    for (const auto& [name, before] : counts_before_)
        counts[name] -= std::min(counts[name], before);
    return counts;
}

void Machine::count_from_here() {
    counts_before_ = vm_->statistics();
}

uint64_t Machine::free_page_reports() const {
    return balloon_->reports();
}

uint64_t Machine::guest_faults() const {
    uint64_t faults = 0;
    for (const auto& transport : transports_) faults += transport->guest_faults();
    return faults;
}

bool Machine::disk_waits_for_room() const {
    return disks_.front()->waits_for_room();
}

std::string Machine::last_fault() const {
    const MutexLock lock(fault_mutex_);
    return last_fault_;
}

}  // namespace drupe
