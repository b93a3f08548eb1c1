#pragma once

#include <fcntl.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <initializer_list>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "vmm/testing/elf_builder.h"
#include "vmm/vm.h"

namespace drupe::testing {

inline constexpr uint16_t kTestPort = 0x510;
inline constexpr uint64_t kTestDevice = arch::kMmioWindow;

/// x86 machine code, an instruction a call. 64-bit unless it says otherwise.
class Code {
  public:
    Code& raw(std::initializer_list<int> bytes) {
        for (const int byte : bytes) bytes_.push_back(static_cast<std::byte>(byte));
        return *this;
    }
    Code& append(const Code& other) {
        bytes_.insert(bytes_.end(), other.bytes_.begin(), other.bytes_.end());
        return *this;
    }
    Code& imm32(uint32_t value) {
        for (int i = 0; i < 4; ++i) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
        return *this;
    }
    Code& eax(uint32_t value) { return raw({0xb8}).imm32(value); }
    Code& ecx(uint32_t value) { return raw({0xb9}).imm32(value); }
    Code& edx(uint32_t value) { return raw({0xba}).imm32(value); }
    Code& esi(uint32_t value) { return raw({0xbe}).imm32(value); }
    Code& edi(uint32_t value) { return raw({0xbf}).imm32(value); }
    Code& out_al() { return raw({0xee}); }  // to port dx
    Code& out_ax() { return raw({0x66, 0xef}); }
    Code& out_eax() { return raw({0xef}); }
    Code& in_al() { return raw({0xec}); }
    Code& in_eax() { return raw({0xed}); }
    Code& store_al() { return raw({0x88, 0x07}); }  // to [rdi]
    Code& store_ax() { return raw({0x66, 0x89, 0x07}); }
    Code& store_eax() { return raw({0x89, 0x07}); }
    Code& store_rax() { return raw({0x48, 0x89, 0x07}); }
    Code& load_eax() { return raw({0x8b, 0x07}); }  // from [rdi]
    Code& hlt() { return raw({0xf4}); }
    Code& forever() { return raw({0xeb, 0xfe}); }  // jmp to itself
    Code& report(uint8_t value) { return edx(kTestPort).eax(value).out_al(); }
    Code& write_mmio(uint64_t address, uint32_t value) {
        return edi(static_cast<uint32_t>(address)).eax(value).store_eax();
    }
    Code& power_off() { return write_mmio(arch::kPowerRegister, 0x5555).forever(); }
    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

/// Records accesses (the first kKept of them); reads give successive bytes of a constant pattern.
class RecordingDevice final : public BusDevice {
  public:
    struct Access {
        bool write = false;
        uint64_t offset = 0;
        size_t size = 0;
        uint64_t value = 0;
        bool operator==(const Access&) const = default;
    };

    void read(uint64_t offset, std::span<std::byte> out) override {
        const uint64_t pattern = kPattern;
        std::memcpy(out.data(), &pattern, out.size());
        add({false, offset, out.size(), 0});
    }
    void write(uint64_t offset, std::span<const std::byte> data) override {
        uint64_t value = 0;
        std::memcpy(&value, data.data(), data.size());
        add({true, offset, data.size(), value});
    }
    [[nodiscard]] std::vector<Access> accesses() const {
        const std::lock_guard lock(mutex_);
        return accesses_;
    }
    /// How many there were, kept or not.
    [[nodiscard]] size_t count() const {
        const std::lock_guard lock(mutex_);
        return count_;
    }
    /// True when there were so many accesses, before the deadline.
    [[nodiscard]] bool wait_for(size_t count) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return count_ >= count; });
    }
    static constexpr size_t kKept = 4096;
    static constexpr uint64_t kPattern = 0x8877665544332211;

  private:
    void add(Access access) {
        const std::lock_guard lock(mutex_);
        if (accesses_.size() < kKept) accesses_.push_back(access);
        ++count_;
        changed_.notify_all();
    }
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Access> accesses_;
    size_t count_ = 0;
};

inline Result<Kvm> open_kvm() {
    TRY_ASSIGN(Fd fd, open_file("/dev/kvm", O_RDWR));
    return Kvm::create(std::move(fd));
}

/// A machine with a recording device at kTestPort and one at kTestDevice. Failures end the test
/// program: nothing of this can be skipped.
class TinyGuest {
  public:
    explicit TinyGuest(VmConfig config = {4 << 20, 1, false}) {
        auto kvm = open_kvm();
        if (!kvm) fail(kvm.error());
        auto created = Vm::create(kvm.value(), config);
        if (!created) fail(created.error());
        vm_ = std::move(created).value();
        require(vm_->attach_pio(kTestPort, 4, port));
        require(vm_->attach_mmio(kTestDevice, 0x1000, mmio));
    }

    /// Loads the code as a kernel and starts.
    void run(const Code& code) {
        load(code);
        start();
    }
    void load(const Code& code) {
        ElfBuilder elf;
        elf.add_code(code.bytes());
        const Fd file = elf.file();
        BootConfig boot;
        boot.kernel_fd = file.get();
        require(vm_->load(boot));
    }
    void start(std::function<Status(uint32_t)> on_thread = {},
               std::function<void()> on_memory_wanted = {}) {
        const auto on_stop = [this](const Stop& stop) {
            const std::lock_guard lock(mutex_);
            stops_.push_back(stop);
            changed_.notify_all();
        };
        require(vm_->start({std::move(on_thread), on_stop, std::move(on_memory_wanted)}));
    }
    /// Waits for the end; a guest that doesn't end gives StopReason::kRequested.
    Stop wait() {
        {
            std::unique_lock lock(mutex_);
            changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !stops_.empty(); });
        }
        vm_->request_stop({StopReason::kRequested, "the test's patience ended"});
        vm_->join();
        const std::lock_guard lock(mutex_);
        return stops_.front();
    }
    [[nodiscard]] size_t stop_count() const {
        const std::lock_guard lock(mutex_);
        return stops_.size();
    }

    [[nodiscard]] Vm& vm() { return *vm_; }

    std::shared_ptr<RecordingDevice> port = std::make_shared<RecordingDevice>();
    std::shared_ptr<RecordingDevice> mmio = std::make_shared<RecordingDevice>();

  private:
    [[noreturn]] static void fail(const Error& error) {
        log(LogLevel::kError, "tiny guest: {}", error.message);
        std::abort();
    }
    static void require(const Status& status) {
        if (!status) fail(status.error());
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Stop> stops_;
    std::unique_ptr<Vm> vm_;  // last: its threads use all of the above
};

}  // namespace drupe::testing
