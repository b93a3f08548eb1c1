#include "vmm/arch/x86_64/mp_table.h"

#include <numeric>
#include <span>

#include "base/check.h"
#include "base/codec.h"
#include "vmm/arch/x86_64/layout.h"

namespace drupe::arch {
namespace {

constexpr size_t kPointerSize = 16;
constexpr size_t kPointerChecksum = 10;
constexpr size_t kTableChecksum = 7;
constexpr size_t kTableLength = 4;
constexpr size_t kEntryCount = 34;
constexpr uint8_t kRevision14 = 4;
constexpr uint8_t kApicVersion = 0x14;
constexpr uint8_t kIoapicVersion = 0x11;

enum Entry : uint8_t { kProcessor, kBus, kIoapicEntry, kIoInterrupt, kLocalInterrupt };
enum InterruptType : uint8_t { kInt = 0, kNmi = 1, kExtInt = 3 };

constexpr uint8_t kAllApics = 0xff;

void interrupt(Encoder& out, Entry entry, InterruptType type, uint8_t source_irq,
               uint8_t destination, uint8_t pin) {
    out.put(entry);
    out.put(type);
    out.put<uint16_t>(0);  // polarity and trigger: as the bus has them, so high and edge
    out.put<uint8_t>(0);   // source bus
    out.put(source_irq);
    out.put(destination);
    out.put(pin);
}

void processor(Encoder& out, uint8_t id) {
    constexpr uint8_t kEnabled = 1;
    constexpr uint8_t kBootstrap = 2;
    out.put(kProcessor);
    out.put(id);
    out.put(kApicVersion);
    out.put<uint8_t>(id == 0 ? kEnabled | kBootstrap : kEnabled);
    out.put<uint32_t>(0x600);  // signature: any P6
    out.put<uint32_t>(0x201);  // features: FPU, APIC
    out.put<uint64_t>(0);
}

/// Sets the byte that makes the range's sum zero.
void set_checksum(std::span<std::byte> range, size_t at) {
    range[at] = std::byte{0};
    const auto sum = std::accumulate(
        range.begin(), range.end(), 0U,
        [](unsigned total, std::byte byte) { return total + std::to_integer<unsigned>(byte); });
    range[at] = static_cast<std::byte>(256 - sum % 256);
}

}  // namespace

std::vector<std::byte> make_mp_table(uint32_t vcpus) {
    const auto ioapic_id = static_cast<uint8_t>(vcpus);
    Encoder out;
    out.put_raw("_MP_");
    out.put(static_cast<uint32_t>(kMpTable + kPointerSize));
    out.put<uint8_t>(1);  // length in 16 bytes
    out.put(kRevision14);
    out.put_raw(std::string_view("\0\0\0\0\0\0", 6));

    out.put_raw("PCMP");
    out.put<uint16_t>(0);  // length, below
    out.put(kRevision14);
    out.put<uint8_t>(0);  // checksum, below
    out.put_raw("DRUPE   MICROVM     ");
    out.put<uint32_t>(0);
    out.put<uint16_t>(0);
    out.put<uint16_t>(0);  // entries, below
    out.put(static_cast<uint32_t>(kLapic));
    out.put<uint32_t>(0);

    for (uint32_t id = 0; id < vcpus; ++id) processor(out, static_cast<uint8_t>(id));
    out.put(kBus);
    out.put<uint8_t>(0);
    out.put_raw("ISA   ");
    out.put(kIoapicEntry);
    out.put(ioapic_id);
    out.put(kIoapicVersion);
    out.put<uint8_t>(1);  // enabled
    out.put(static_cast<uint32_t>(kIoapic));
    for (uint8_t pin = 0; pin < kIoapicPins; ++pin)
        interrupt(out, kIoInterrupt, kInt, pin, ioapic_id, pin);
    interrupt(out, kLocalInterrupt, kExtInt, 0, 0, 0);
    interrupt(out, kLocalInterrupt, kNmi, 0, kAllApics, 1);

    const std::string bytes = out.take();
    const std::span<const std::byte> raw = std::as_bytes(std::span(bytes));
    std::vector<std::byte> result(raw.begin(), raw.end());
    DRUPE_CHECK(result.size() <= kMpTableEnd - kMpTable);
    const std::span table = std::span(result).subspan(kPointerSize);
    const auto put16 = [&](size_t at, size_t value) {
        table[at] = static_cast<std::byte>(value);
        table[at + 1] = static_cast<std::byte>(value >> 8);
    };
    put16(kTableLength, table.size());
    put16(kEntryCount, vcpus + 1 + 1 + kIoapicPins + 2);
    set_checksum(table, kTableChecksum);
    set_checksum(std::span(result).first(kPointerSize), kPointerChecksum);
    return result;
}

}  // namespace drupe::arch
