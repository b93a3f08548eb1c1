#include "vmm/vcpu.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace drupe {
namespace {

/// Widths that a CPU uses. KVM never gives others; a wrong one must not become a wild span.
constexpr uint32_t kMaxAccess = 8;

}  // namespace

const char* to_string(StopReason reason) {
    switch (reason) {
        case StopReason::kPowerOff:
            return "power-off";
        case StopReason::kReset:
            return "reset";
        case StopReason::kPanic:
            return "panic";
        case StopReason::kTripleFault:
            return "triple fault";
        case StopReason::kInternalError:
            return "internal error";
        case StopReason::kHostError:
            return "host error";
        case StopReason::kRequested:
            return "requested";
    }
    return "unknown";
}

Vcpu::Vcpu(KvmVcpu kvm, const Bus& mmio, const Bus& pio)
    : kvm_(std::move(kvm)), mmio_(mmio), pio_(pio) {}

int Vcpu::kick_signal() {
    return SIGRTMIN;
}

Status Vcpu::install_kick_handler() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    if (::sigaction(kick_signal(), &action, nullptr) < 0) return os_error("sigaction");
    return ok();
}

void Vcpu::kick() {
    kvm_.set_immediate_exit(true);
}

std::variant<Vcpu::Kicked, Vcpu::NoMemory, Stop> Vcpu::run() {
    for (;;) {
        const int error = kvm_.run();
        // Only EINTR says that the last exit's I/O is complete. immediate_exit is cleared before
        // the caller looks at what the kick was for, so that a later kick isn't lost.
        if (error == EINTR) {
            kvm_.set_immediate_exit(false);
            return Kicked{};
        }
        if (error == EAGAIN) continue;  // a secondary CPU was woken by SIPI
        if (error == EFAULT) return NoMemory{};
        if (error != 0) return run_error(error);

        switch (kvm_.exit().exit_reason) {
            case KVM_EXIT_IO:
                do_pio();
                break;
            case KVM_EXIT_MMIO:
                do_mmio();
                break;
            case KVM_EXIT_INTR:
            case KVM_EXIT_HLT:
            case KVM_EXIT_IRQ_WINDOW_OPEN:
                break;
            case KVM_EXIT_SHUTDOWN:
                return Stop{StopReason::kTripleFault, "triple fault" + where()};
            case KVM_EXIT_SYSTEM_EVENT:
                return system_event();
            default:
                return internal_error();
        }
    }
}

Stop Vcpu::run_error(int error) const {
    return {StopReason::kHostError, os_error("KVM_RUN", error).message + where()};
}

Stop Vcpu::memory_error() const {
    return run_error(EFAULT);
}

void Vcpu::do_pio() {
    const auto& io = kvm_.exit().io;
    const uint16_t port = io.port;
    const uint32_t size = io.size;
    const bool out = io.direction == KVM_EXIT_IO_OUT;
    std::span<std::byte> data = kvm_.pio_data();
    if (size == 0 || size > kMaxAccess) return;
    // rep ins/outs: `count` accesses to the same port.
    for (; data.size() >= size; data = data.subspan(size)) {
        const std::span<std::byte> item = data.first(size);
        const bool known = out ? pio_.write(port, item) : pio_.read(port, item);
        if (!known && unknown_accesses_.pass())
            log(LogLevel::kDebug, "vcpu{}: no device at port {:#x}", kvm_.id(), port);
    }
}

void Vcpu::do_mmio() {
    auto& mmio = kvm_.exit().mmio;
    const uint64_t address = mmio.phys_addr;
    const size_t size = std::min<size_t>(mmio.len, sizeof mmio.data);
    const std::span<std::byte> data = std::as_writable_bytes(std::span(mmio.data)).first(size);
    const bool known = mmio.is_write != 0 ? mmio_.write(address, data) : mmio_.read(address, data);
    if (!known && unknown_accesses_.pass())
        log(LogLevel::kDebug, "vcpu{}: no device at {:#x}", kvm_.id(), address);
}

Stop Vcpu::system_event() const {
    const uint32_t type = kvm_.exit().system_event.type;
    if (type == KVM_SYSTEM_EVENT_SHUTDOWN) return {StopReason::kPowerOff, "KVM system event"};
    if (type == KVM_SYSTEM_EVENT_RESET) return {StopReason::kReset, "KVM system event"};
    if (type == KVM_SYSTEM_EVENT_CRASH) return {StopReason::kPanic, "KVM system event"};
    return {StopReason::kInternalError, fmt::format("KVM system event {}", type)};
}

Stop Vcpu::internal_error() const {
    const kvm_run& exit = kvm_.exit();
    if (exit.exit_reason == KVM_EXIT_INTERNAL_ERROR) {
        const uint32_t suberror = exit.internal.suberror;
        const char* const what =
            suberror == KVM_INTERNAL_ERROR_EMULATION     ? "an instruction that KVM can't emulate"
            : suberror == KVM_INTERNAL_ERROR_DELIVERY_EV ? "an event that KVM can't deliver"
                                                         : "KVM internal error";
        return {StopReason::kInternalError,
                fmt::format("{} (suberror {}){}", what, suberror, where())};
    }
    if (exit.exit_reason == KVM_EXIT_FAIL_ENTRY) {
        return {StopReason::kInternalError,
                fmt::format("the processor refused to enter the guest (reason {:#x}){}",
                            uint64_t{exit.fail_entry.hardware_entry_failure_reason}, where())};
    }
    return {StopReason::kInternalError,
            fmt::format("unexpected KVM exit {}{}", uint32_t{exit.exit_reason}, where())};
}

std::string Vcpu::where() const {
    const auto regs = kvm_.regs();
    const auto sregs = kvm_.sregs();
    if (!regs || !sregs) return fmt::format(" on vcpu{}", kvm_.id());
    return fmt::format(" on vcpu{} at rip {:#x} (rsp {:#x}, cr0 {:#x}, cr2 {:#x}, cr3 {:#x})",
                       kvm_.id(), uint64_t{regs.value().rip}, uint64_t{regs.value().rsp},
                       uint64_t{sregs.value().cr0}, uint64_t{sregs.value().cr2},
                       uint64_t{sregs.value().cr3});
}

}  // namespace drupe
