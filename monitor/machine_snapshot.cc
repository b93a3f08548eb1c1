// A machine's way into a snapshot's two files, and out of them.
#include <fmt/core.h>

#include <memory>
#include <utility>

#include "base/check.h"
#include "base/fd.h"
#include "base/log.h"
#include "imagefs/store/layered_disk.h"
#include "monitor/machine.h"
#include "vmm/snapshot/memory_file.h"
#include "vmm/snapshot/state_file.h"
#include "vmm/snapshot/vm_state.h"
#include "vmm/snapshot/working_set.h"

namespace drupe {
namespace {

constexpr uint32_t kDeviceSectionVersion = 1;
constexpr std::string_view kContainerSection = "container";
constexpr uint32_t kContainerSectionVersion = 1;

std::string section_of(const virtio::MmioTransport& transport) {
    return "device." + transport.name();
}

}  // namespace

/// What a save has gathered, until every device has told its state.
struct Machine::Gathered {
    control::Snapshot files;
    SaveSteps steps;
    std::vector<StateSection> sections;
    size_t devices_left = 0;
    bool runs_a_workload = false;
};

void Machine::save(control::Snapshot files, std::string container_state, SaveSteps steps) {
    DRUPE_CHECK(writer_ == nullptr);
    idle_memory_->wake();
    auto gathered = std::make_shared<Gathered>();
    gathered->files = std::move(files);
    gathered->steps = std::move(steps);
    gathered->runs_a_workload = !container_state.empty();
    if (gathered->runs_a_workload)
        gathered->sections.push_back(
            {std::string(kContainerSection), kContainerSectionVersion, std::move(container_state)});
    saving_ = true;
    pause([this, gathered](const Status& paused) {
        saving_ = paused.has_value();
        if (!paused) return gathered->steps.on_captured(paused);
        gathered->devices_left = transports_.size();
        for (const auto& transport : transports_) {
            transport->quiesce([this, transport, gathered] {
                Encoder out;
                transport->save(out);
                StateSection section{section_of(*transport), kDeviceSectionVersion, out.take()};
                loop_.post([this, gathered, section = std::move(section)] {
                    gathered->sections.push_back(section);
                    if (--gathered->devices_left == 0) finish_save(*gathered);
                });
            });
        }
    });
}

void Machine::finish_save(Gathered& gathered) {
    const bool is_template = !gathered.runs_a_workload;  // it won't go on
    const Status captured = start_writing(gathered);
    saving_ = false;
    for (const auto& transport : transports_) {
        if (transport == transports_.front() && root_disk_released_) continue;
        transport->loop().post([transport] { transport->resume(); });
    }
    if (captured && is_template) write_now();
    gathered.steps.on_captured(captured);
}

void Machine::write_now() {
    if (writer_ != nullptr) writer_->begin();
}

/// What RAM may have without being in memory.
std::vector<PageRun> Machine::content_elsewhere() const {
    constexpr uint64_t kPage = 4096;
    const bool all = config_.may_swap || config_.kernel_load == "map";
    return all ? std::vector<PageRun>{{0, vm_->memory().total_size() / kPage}} : restored_runs_;
}

/// With the vCPUs paused and every device quiet.
Status Machine::start_writing(Gathered& gathered) {
    TRY_ASSIGN(const VmState vm, save_vm(*vm_));
    gathered.sections.push_back({std::string(kVmSection), kVmSectionVersion, encode_vm_state(vm)});
    if (vmgenid_) {
        gathered.sections.push_back(
            {std::string(kVmGenIdSection), kVmGenIdSectionVersion, vmgenid_->encode()});
    }
    const auto done = [this, written = gathered.steps.on_written](const Status& status) {
        writer_.reset();
        written(status);
    };
    TRY_ASSIGN(writer_, SnapshotWriter::start(loop_, vm_->memory(), content_elsewhere(),
                                              std::move(gathered.sections), gathered.files, done));
    return ok();
}

/// After restore(). What isn't known, or can't be read, is left to page faults.
bool Machine::prefetch_working_set() {
    const Fd file(config_.working_set_fd);
    if (!file.valid()) return false;
    const auto bytes = read_all(file.get(), kMaxWorkingSetBytes);
    const auto set = bytes ? decode_working_set(bytes.value()) : bytes.error();
    if (set) {
        prefetch(vm_->memory(), set.value());
    } else {
        log(LogLevel::kWarn, "{}", set.error().message);
    }
    return set.has_value();
}

/// In load_kernel()'s place.
Status Machine::restore() {
    const Fd state(config_.restore.state_fd);
    Fd memory(config_.restore.memory_fd);
    TRY_ASSIGN(const std::string file, read_all(state.get(), kMaxStateFileBytes));
    TRY_ASSIGN(const auto sections, decode_state_file(file));
    TRY_ASSIGN(const auto pages, find_section(sections, kMemorySection, kMemorySectionVersion));
    TRY_ASSIGN(MemoryPages runs, decode_memory_pages(pages));
    if (config_.restore.verify) {
        TRY(verify_memory(memory.get(), runs));
    }
    TRY(map_memory(vm_->memory(), memory.get(), runs));
    restored_runs_ = std::move(runs.runs);
    restored_file_ = std::move(memory);
    TRY_ASSIGN(const auto machine, find_section(sections, kVmSection, kVmSectionVersion));
    TRY_ASSIGN(const VmState vm, decode_vm_state(machine));
    TRY(restore_vm(*vm_, vm));
    TRY(renew_vmgenid(sections));
    // A guest that runs a workload has its root disk: the driver believes in its size.
    const auto container = find_section(sections, kContainerSection, kContainerSectionVersion);
    if (container) {
        container_state_ = container.value();
        TRY_ASSIGN(auto disk, open_root_disk());
        TRY(disks_.front()->attach(std::move(disk)));
    } else if (container.error().code == ErrorCode::kUnsupported) {
        return container.error();
    }
    for (const auto& transport : transports_) {
        TRY_ASSIGN(const auto device,
                   find_section(sections, section_of(*transport), kDeviceSectionVersion));
        Decoder in(device);
        TRY(transport->restore(in));
        if (!in.at_end()) {
            return Error{
                ErrorCode::kCorrupt,
                fmt::format("section {}: there are bytes behind its end", section_of(*transport))};
        }
    }
    // It has booted: nobody needs these.
    const Fd kernel(config_.kernel_fd);
    const Fd initrd(config_.initrd_fd);
    return ok();
}

/// With RAM and interrupt controllers in place: the interrupt is pending when the guest goes on.
Status Machine::renew_vmgenid(std::span<const StateSection> sections) {
    auto section = find_section(sections, kVmGenIdSection, kVmGenIdSectionVersion);
    // A guest that booted without one may have anything in its place.
    if (!section && section.error().code == ErrorCode::kCorrupt) return ok();
    TRY_ASSIGN(const auto bytes, std::move(section));
    TRY_ASSIGN(const VmGenId vmgenid, VmGenId::decode(vm_->memory(), bytes));
    TRY(set_vmgenid(vmgenid));
    return vm_->pulse_line(arch::kVmGenIdPin);
}

/// Before the loop runs, or on it. Nothing for those that weren't restored.
void Machine::resume_devices(const EventLoop& loop) {
    for (const auto& transport : transports_)
        if (&transport->loop() == &loop) transport->resume();
}

}  // namespace drupe
