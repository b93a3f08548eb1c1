#include <cstring>
#include <string>

#include "base/check.h"
#include "base/crc32c.h"
#include "vmm/snapshot/memory_file.h"
#include "vmm/snapshot/state_file.h"
#include "vmm/snapshot/vm_state.h"
#include "vmm/vmgenid.h"

namespace {

using namespace drupe;

constexpr size_t kHeader = 24;
constexpr size_t kEntry = 48;

uint32_t crc_of(std::string_view bytes) {
    return crc32c(std::as_bytes(std::span(bytes)));
}

template <class T>
T load(const std::string& file, size_t at) {
    T value{};
    std::memcpy(&value, file.data() + at, sizeof value);
    return value;
}

void store_crc(std::string& file, size_t at, uint32_t crc) {
    std::memcpy(file.data() + at, &crc, sizeof crc);
}

/// Puts the checksums right, or the fuzzer would not get behind them.
void fix_checksums(std::string& file) {
    if (file.size() < kHeader) return;
    const size_t count = load<uint32_t>(file, 16);
    if (count > kMaxSections || file.size() < kHeader + count * kEntry + 4) return;
    size_t at = kHeader + count * kEntry + 4;
    for (size_t i = 0; i < count; ++i) {
        const size_t entry = kHeader + i * kEntry;
        const auto length = load<uint64_t>(file, entry + 40);
        if (length > file.size() - at) break;
        store_crc(file, entry + 36, crc_of(std::string_view(file).substr(at, length)));
        at += length;
    }
    store_crc(file, kHeader + count * kEntry,
              crc_of(std::string_view(file).substr(0, kHeader + count * kEntry)));
}

void check_machine(std::string_view bytes) {
    const auto state = decode_vm_state(bytes);
    if (!state) return;
    DRUPE_CHECK(!state.value().vcpus.empty() && state.value().vcpus.size() <= Vm::kMaxVcpus);
    DRUPE_CHECK(encode_vm_state(state.value()) == bytes);
}

void check_memory(std::string_view bytes) {
    const auto pages = decode_memory_pages(bytes);
    if (!pages) return;
    for (const PageRun& run : pages.value().runs)
        DRUPE_CHECK(run.count != 0 && run.first < pages.value().total &&
                    run.count <= pages.value().total - run.first);
    size_t pieces = 0;
    DRUPE_CHECK(for_summed_pieces(pages.value().runs, [&](PageRun piece) -> Status {
                    DRUPE_CHECK(piece.count != 0 && piece.count <= kMaxSummedPages);
                    ++pieces;
                    return ok();
                }).has_value());
    DRUPE_CHECK(pages.value().sums.size() == pieces);
    DRUPE_CHECK(encode_memory_pages(pages.value()) == bytes);
}

void check_working_set(std::string_view bytes) {
    const auto set = decode_working_set(bytes);
    if (!set) return;
    DRUPE_CHECK(set.value().read.size() + set.value().written.size() <= kMaxWorkingSetRuns);
    DRUPE_CHECK(encode(set.value()) == bytes);
}

void check_vmgenid(std::string_view bytes) {
    static const GuestMemory memory =
        std::move(GuestMemory::create(arch::ram_ranges(Vm::kMinMemory))).value();
    const auto vmgenid = VmGenId::decode(memory, bytes);
    if (!vmgenid) return;
    vmgenid.value().set({});
    DRUPE_CHECK(vmgenid.value().encode() == bytes);
}

}  // namespace

/// The first byte chooses: a whole state file, one section alone, or what is kept beside it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0] % 8) {
        case 1:
            return check_machine(bytes), 0;
        case 2:
            return check_memory(bytes), 0;
        case 3:
            break;
        case 4:
            return check_vmgenid(bytes), 0;
        case 5:
            return check_working_set(bytes), 0;
        default:
            fix_checksums(bytes);
    }
    const auto sections = decode_state_file(bytes);
    if (!sections) return 0;
    DRUPE_CHECK(encode_state_file(sections.value()) == bytes);
    for (const StateSection& section : sections.value()) {
        if (section.name == kVmSection) check_machine(section.bytes);
        if (section.name == kMemorySection) check_memory(section.bytes);
        if (section.name == kVmGenIdSection) check_vmgenid(section.bytes);
    }
    return 0;
}
