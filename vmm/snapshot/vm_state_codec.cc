#include <fmt/core.h>

#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "base/codec.h"
#include "vmm/snapshot/vm_state.h"

namespace drupe {
namespace {

constexpr uint32_t kMaxCpuidLeaves = 256;
constexpr uint32_t kMaxMsrs = 4096;
constexpr size_t kMaxXsaveBytes = 64 << 10;

template <class T>
std::string_view bytes_of(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

class Writer {
  public:
    template <class T>
    void value(const char* /*name*/, const T& value) {
        out_.put_raw(bytes_of(value));
    }
    template <class T>
    void list(const char* /*name*/, const std::vector<T>& list, uint32_t max) {
        DRUPE_CHECK(list.size() <= max);
        out_.put(static_cast<uint32_t>(list.size()));
        for (const T& item : list) out_.put_raw(bytes_of(item));
    }
    void text(const char* /*name*/, const std::string& text, size_t max) {
        DRUPE_CHECK(text.size() <= max);
        out_.put_bytes(text);
    }
    void optional(const char* /*name*/, const std::optional<uint64_t>& value) {
        out_.put(static_cast<uint8_t>(value ? 1 : 0));
        out_.put(value.value_or(0));
    }
    [[nodiscard]] std::string take() { return out_.take(); }

  private:
    Encoder out_;
};

/// Keeps the name of the first field that can't be read.
class Reader {
  public:
    explicit Reader(std::string_view bytes) : in_(bytes) {}

    template <class T>
    void value(const char* name, T& value) {
        const std::string_view bytes = in_.get_raw(sizeof value);
        if (expect(name, in_.ok())) std::memcpy(&value, bytes.data(), sizeof value);
    }
    template <class T>
    void list(const char* name, std::vector<T>& list, uint32_t max) {
        list.resize(in_.get_count(max, sizeof(T)));
        for (T& item : list) value(name, item);
        (void)expect(name, in_.ok());
    }
    void text(const char* name, std::string& text, size_t max) {
        text = in_.get_bytes(max);
        (void)expect(name, in_.ok());
    }
    void optional(const char* name, std::optional<uint64_t>& value) {
        const auto present = in_.get<uint8_t>();
        const auto number = in_.get<uint64_t>();
        value.reset();
        if (present == 1) value = number;
        (void)expect(name, in_.ok() && present <= 1 && (present == 1 || number == 0));
    }
    /// True if it holds; otherwise nothing more is read.
    bool expect(const char* name, bool holds) {
        if (holds) return true;
        if (failed_ == nullptr) failed_ = name;
        in_.fail();
        return false;
    }
    [[nodiscard]] const char* failed() const { return failed_; }
    [[nodiscard]] bool at_end() const { return in_.at_end(); }

  private:
    Decoder in_;
    const char* failed_ = nullptr;
};

/// One order for both directions: State is const when it is written.
template <class Visitor, class State>
void describe_vcpu(Visitor& v, State& state) {
    v.list("cpuid", state.cpuid, kMaxCpuidLeaves);
    v.value("mp_state", state.mp_state);
    v.value("regs", state.regs);
    v.value("sregs", state.sregs);
    v.text("xsave", state.xsave, kMaxXsaveBytes);
    v.value("xcrs", state.xcrs);
    v.value("debugregs", state.debugregs);
    v.list("msrs", state.msrs, kMaxMsrs);
    v.value("lapic", state.lapic);
    v.value("events", state.events);
    v.value("tsc", state.tsc);
    v.optional("tsc_offset", state.tsc_offset);
}

template <class Visitor, class State>
void describe_machine(Visitor& v, State& state) {
    v.value("memory_bytes", state.memory_bytes);
    v.value("tsc_khz", state.tsc_khz);
    v.value("clock_ns", state.clock_ns);
    for (auto& chip : state.irqchips) v.value("irqchip", chip);
    v.value("pit", state.pit);
}

Error bad(const std::string& what) {
    return Error{ErrorCode::kCorrupt, fmt::format("section {}: {}", kVmSection, what)};
}

}  // namespace

std::string encode_vm_state(const VmState& state) {
    Writer out;
    describe_machine(out, state);
    out.value("vcpus", static_cast<uint32_t>(state.vcpus.size()));
    for (const VcpuState& vcpu : state.vcpus) describe_vcpu(out, vcpu);
    return out.take();
}

Result<VmState> decode_vm_state(std::string_view bytes) {
    VmState state;
    Reader in(bytes);
    describe_machine(in, state);
    for (uint32_t id = 0; id < state.irqchips.size(); ++id)
        (void)in.expect("irqchip", state.irqchips[id].chip_id == id);
    uint32_t vcpus = 0;
    in.value("vcpus", vcpus);
    (void)in.expect("vcpus", vcpus >= 1 && vcpus <= Vm::kMaxVcpus);
    if (in.failed() != nullptr) return bad(fmt::format("{} can't be read", in.failed()));
    for (uint32_t index = 0; index < vcpus; ++index) {
        describe_vcpu(in, state.vcpus.emplace_back());
        if (in.failed() != nullptr)
            return bad(fmt::format("vCPU {}: {} can't be read", index, in.failed()));
    }
    if (!in.at_end()) return bad("there are bytes behind its end");
    return state;
}

}  // namespace drupe
