// Snapshots whose files were damaged, as a user meets them: an error that says what is wrong and
// what to do, and a container that starts without.

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/crc32c.h"
#include "tests/boot/running.h"
#include "vmm/snapshot/memory_file.h"
#include "vmm/snapshot/state_file.h"
#include "vmm/snapshot/vm_state.h"
#include "vmm/vmgenid.h"

namespace drupe::testing {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;
using Sections = std::vector<StateSection>;

std::string read_file(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
void write_file(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// A bit of a byte.
void flip(const fs::path& path, uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ 0x10));
}
MemoryPages pages_of(const Sections& sections) {
    return decode_memory_pages(
               find_section(sections, kMemorySection, kMemorySectionVersion).value())
        .value();
}

/// A container that has the snapshot `ready`.
class DamageTest : public ::testing::Test {
  protected:
    DamageTest() : parent_("while :; do sleep 1000 & wait; done", {"--memory", "64m"}) {
        in(parent_.id(), "echo base | tee /file > /dev/shm/file; sync");
        EXPECT_EQ(drupe({"snapshot", "create", parent_.id(), "ready"}).exit_code, 0);
        folder_ = saved_by(parent_.id());
        good_ = read_file(folder_ / "state");
        EXPECT_FALSE(good_.empty());
        const auto sections = decode_state_file(good_);
        EXPECT_TRUE(sections);
        if (sections) sections_ = sections.value();
    }

    [[nodiscard]] const std::string& id() const { return parent_.id(); }
    [[nodiscard]] fs::path memory() const { return folder_ / "memory"; }
    void put(const std::string& state) const { write_file(folder_ / "state", state); }
    void put(const Sections& sections) const { put(encode_state_file(sections)); }

    /// Going back to it fails, says why, and damages nothing else.
    void expect_refused(const std::string& why) const {
        const Outcome back = drupe({"rollback", id(), "ready"});
        EXPECT_NE(back.exit_code, 0);
        EXPECT_NE(back.err.find(why), std::string::npos) << "not '" << why << "': " << back.err;
        EXPECT_NE(back.err.find("a start without it boots"), std::string::npos) << back.err;
        EXPECT_EQ(trim(drupe({"inspect", "-f", "{{.State.Running}}", id()}).out), "false");
    }
    void expect_usable() const {
        put(good_);
        const Outcome back = drupe({"rollback", id(), "ready"});
        EXPECT_EQ(back.exit_code, 0) << back.err;
        EXPECT_EQ(in(id(), "cat /file /dev/shm/file"), "base\nbase\n");
    }
    /// Its checksums are right for what its file has now.
    void sum_anew(StateSection& section) const {
        const std::string bytes = read_file(memory());
        MemoryPages pages = decode_memory_pages(section.bytes).value();
        pages.sums.clear();
        EXPECT_TRUE(for_summed_pieces(pages.runs, [&](PageRun piece) -> Status {
            const auto part = std::as_bytes(std::span(bytes));
            pages.sums.push_back(crc32c(part.subspan(piece.first * 4096, piece.count * 4096)));
            return ok();
        }));
        section.bytes = encode_memory_pages(pages);
    }
    /// A section's bytes and version are changed; its checksum is right.
    void change(const std::string& name, const std::function<void(StateSection&)>& to) const {
        Sections sections = sections_;
        for (StateSection& section : sections)
            if (section.name == name) to(section);
        put(sections);
    }

    Parent parent_;
    fs::path folder_;
    std::string good_;
    Sections sections_;
};

TEST_F(DamageTest, AStateThatIsCutOrHasAFlippedBitIsRefusedByThePartsName) {
    ASSERT_GE(sections_.size(), 5U);
    constexpr size_t kHeader = 24;
    size_t at = kHeader + sections_.size() * 48 + 4;
    const auto flipped = [&](size_t where) {
        std::string bytes = good_;
        bytes[where] = static_cast<char>(bytes[where] ^ 0x10);
        return bytes;
    };
    for (const size_t size : {size_t{0}, size_t{8}, kHeader, at - 1}) {
        put(good_.substr(0, size));
        expect_refused("header: cut short");
    }
    for (const size_t where : {size_t{0}, size_t{8}, kHeader + 40, at - 1}) {
        put(flipped(where));
        expect_refused("header: ");
    }
    for (const StateSection& section : sections_) {
        const size_t size = section.bytes.size();
        if (size == 0) continue;
        SCOPED_TRACE(section.name);
        for (const size_t kept : {size_t{0}, size - 1}) {
            put(good_.substr(0, at + kept));
            expect_refused("section " + section.name + ": cut short");
        }
        put(flipped(at + size / 2));
        expect_refused("section " + section.name + ": its checksum is wrong");
        at += size;
    }
    put(good_ + "x");
    expect_refused("1 bytes are behind the last section");
    std::string newer = good_;
    newer[8] = 2;
    const size_t summed = kHeader + sections_.size() * 48;
    const uint32_t crc = crc32c(std::as_bytes(std::span(newer).first(summed)));
    newer.replace(summed, sizeof crc, reinterpret_cast<const char*>(&crc), sizeof crc);
    put(newer);
    expect_refused("format version 2");
    expect_usable();
}

TEST_F(DamageTest, AMemoryOfAnotherLengthIsRefused) {
    const auto size = fs::file_size(memory());
    const fs::path kept = memory().string() + ".kept";
    fs::copy_file(memory(), kept);
    for (const auto other : {uintmax_t{0}, uintmax_t{4096}, size / 2, size - 1, size + 1}) {
        fs::resize_file(memory(), other);
        expect_refused(std::to_string(other) + " bytes");
    }
    fs::rename(kept, memory());
    expect_usable();
}

// What the monitor alone can tell.
TEST_F(DamageTest, AStateThatLiesIsRefusedByTheMonitor) {
    for (const StateSection& section : sections_) {
        SCOPED_TRACE(section.name);
        change(section.name, [](StateSection& s) { s.version = 99; });
        expect_refused("section " + section.name + ": version 99");
        change(section.name, [](StateSection& s) { s.bytes.pop_back(); });
        expect_refused("");
        change(section.name, [](StateSection& s) { s.bytes += "x"; });
        expect_refused("");
        if (section.name == "container") continue;      // a template has none: it would boot
        if (section.name == kVmGenIdSection) continue;  // older machines have none: below
        change(section.name, [](StateSection& s) { s.name = "other"; });
        expect_refused("there is no section " + section.name);
    }
    change(std::string(kVmSection), [](StateSection& s) {
        VmState state = decode_vm_state(s.bytes).value();
        for (kvm_cpuid_entry2& leaf : state.vcpus[0].cpuid)
            if (leaf.function == 7 && leaf.index == 0) leaf.ebx |= 1U << 16;
        s.bytes = encode_vm_state(state);
    });
    expect_refused("this host lacks the bits 0x10000");
    change(std::string(kVmSection), [](StateSection& s) {
        VmState state = decode_vm_state(s.bytes).value();
        state.vcpus.push_back(state.vcpus[0]);
        s.bytes = encode_vm_state(state);
    });
    expect_refused("of a machine with 2 vCPUs");
    change(std::string(kMemorySection), [](StateSection& s) {
        MemoryPages pages = decode_memory_pages(s.bytes).value();
        pages.total += 1;
        s.bytes = encode_memory_pages(pages);
    });
    expect_refused("memory file: it is of a machine with");
    EXPECT_EQ(drupe({"start", id()}).exit_code, 0) << "without it";
    EXPECT_EQ(in(id(), "ls /file"), "/file\n");
    expect_usable();
}

// As an older Drupe has saved it: the guest's memory may have anything where its id would be.
TEST_F(DamageTest, AGuestWithoutAGenerationIdIsGivenNone) {
    const int before = restores_heard(id());
    expect_usable();
    EXPECT_EQ(restores_heard(id()), before + 1);
    constexpr std::streamoff kPlace = 0xa0000;
    const std::string marked(4096, 'x');
    std::fstream(memory(), std::ios::in | std::ios::out | std::ios::binary).seekp(kPlace) << marked;
    Sections older = sections_;
    for (StateSection& section : older) {
        if (section.name == kVmGenIdSection) section.name = "other";
        if (section.name == kMemorySection) sum_anew(section);
    }
    put(older);
    EXPECT_EQ(drupe({"rollback", id(), "ready"}).exit_code, 0);
    EXPECT_EQ(restores_heard(id()), before);
    EXPECT_EQ(drupe({"snapshot", "rm", id(), "ready"}).exit_code, 0);
    EXPECT_EQ(drupe({"snapshot", "create", id(), "again"}).exit_code, 0);
    const fs::path again = saved_by(id());
    EXPECT_EQ(read_file(again / "state").find(kVmGenIdSection), std::string::npos);
    EXPECT_EQ(read_file(again / "memory").substr(kPlace, marked.size()), marked);
}

TEST_F(DamageTest, NewContainersOfOneSayWhatIsWrongAndBootTheNextTime) {
    change(std::string(kVmSection), [](StateSection& s) { s.bytes.pop_back(); });
    const Outcome run = drupe({"run", "-d", "--name", "new", "--from-snapshot", id() + ":ready"});
    EXPECT_EQ(run.exit_code, 125);
    EXPECT_NE(run.err.find("section machine: vCPU 0"), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("a start without it boots"), std::string::npos) << run.err;
    EXPECT_EQ(drupe({"start", "new"}).exit_code, 0);
    EXPECT_EQ(in("new", "cat /file; ls /dev/shm"), "base\n");
    EXPECT_EQ(in(id(), "cat /dev/shm/file"), "base\n") << "its parent goes on";
    EXPECT_EQ(drupe({"rm", "-f", "new"}).exit_code, 0);
}

TEST_F(DamageTest, AFlippedBitInMemoryIsRefusedWithItsPlaceAndTheDiskStays) {
    const std::vector<PageRun> runs = pages_of(sections_).runs;
    ASSERT_FALSE(runs.empty());
    in(id(), "echo later > /file; sync");
    for (const uint64_t page : {runs.front().first, runs[runs.size() / 2].first,
                                runs.back().first + runs.back().count - 1}) {
        SCOPED_TRACE(page);
        flip(memory(), page * 4096 + 77);
        expect_refused("memory file: bytes ");
        expect_refused("don't have their checksum: the snapshot is damaged");
        flip(memory(), page * 4096 + 77);
    }
    flip(memory(), runs.back().first * 4096);
    expect_refused("memory file: bytes ");
    EXPECT_EQ(drupe({"start", id()}).exit_code, 0) << "without it";
    EXPECT_EQ(in(id(), "cat /file"), "later\n") << "its own disk";
    const Outcome run = drupe({"run", "-d", "--name", "new", "--from-snapshot", id() + ":ready"});
    EXPECT_EQ(run.exit_code, 125);
    EXPECT_NE(run.err.find("don't have their checksum"), std::string::npos) << run.err;
    EXPECT_EQ(drupe({"start", "new"}).exit_code, 0);
    EXPECT_EQ(in("new", "cat /file; ls /dev/shm"), "base\n") << "it boots from the snapshot's disk";
    EXPECT_EQ(drupe({"rm", "-f", "new"}).exit_code, 0);
    flip(memory(), runs.back().first * 4096);
    expect_usable();
    EXPECT_EQ(drupe({"snapshot", "rm", id(), "ready"}).exit_code, 0);
    EXPECT_EQ(in(id(), "cat /dev/shm/file"), "base\n") << "it goes on";
}

TEST_F(DamageTest, ASnapshotOfAnOlderDrupeSaysSo) {
    change(std::string(kMemorySection), [](StateSection& s) {
        MemoryPages pages = decode_memory_pages(s.bytes).value();
        pages.sums.clear();
        s = {s.name, 1, encode_memory_pages(pages)};
    });
    expect_refused("section memory: version 1, this build reads 2: an older Drupe has saved it");
    expect_usable();
}

// With checksums that are right: what is wrong in its memory is the guest's own trouble.
TEST_F(DamageTest, AMemoryOfAnybodysMakingHarmsItsGuestAlone) {
    const auto pages = fs::file_size(memory()) / 4096;
    for (unsigned round = 0; round < static_cast<unsigned>(repetitions(1, 5)); ++round) {
        {
            std::fstream file(memory(), std::ios::in | std::ios::out | std::ios::binary);
            for (uint64_t i = 0; i < 2000; ++i) {
                const uint64_t page = (i * 7919 + round * 104729) % pages;
                file.seekp(static_cast<std::streamoff>(page * 4096 + i % 4096));
                file.put(static_cast<char>(i));
            }
        }
        change(std::string(kMemorySection), [&](StateSection& s) { sum_anew(s); });
        (void)drupe({"rollback", id(), "ready"});  // it may come up or not
        const Outcome other = drupe({"run", "--rm", "busybox", "echo", "fine"});
        EXPECT_EQ(other.out, "fine\n") << other.err;
    }
    (void)drupe({"kill", id()});
    const Outcome start = drupe({"start", id()});
    EXPECT_EQ(start.exit_code, 0) << start.err;
    EXPECT_EQ(in(id(), "echo alive"), "alive\n");
}

TEST(DamagedLiveImageTest, ItsContainerSaysSoAndBootsTheNextTime) {
    Parent parent("echo here > /dev/shm/file; while :; do sleep 1000 & wait; done",
                  {"--memory", "64m"});
    ASSERT_TRUE(await_in(parent.id(), {"test", "-s", "/dev/shm/file"}));
    ASSERT_EQ(drupe({"commit", "--live", parent.id(), "live:damaged"}).exit_code, 0);
    const fs::path folder = saved_by("");
    const auto goes_on = [] {
        const Outcome run = drupe({"run", "-d", "--name", "live", "live:damaged"});
        EXPECT_EQ(run.exit_code, 0) << run.err;
        EXPECT_EQ(in("live", "cat /dev/shm/file"), "here\n");
        EXPECT_EQ(drupe({"rm", "-f", "live"}).exit_code, 0);
    };
    const auto expect_refused = [](const std::string& why) {
        const Outcome run = drupe({"run", "-d", "--name", "live", "live:damaged"});
        EXPECT_EQ(run.exit_code, 125);
        EXPECT_NE(run.err.find(why), std::string::npos) << run.err;
        EXPECT_NE(run.err.find("a start without it boots"), std::string::npos) << run.err;
        EXPECT_EQ(drupe({"start", "live"}).exit_code, 0);
        EXPECT_EQ(in("live", "echo up"), "up\n");
        EXPECT_EQ(drupe({"rm", "-f", "live"}).exit_code, 0);
    };
    goes_on();
    goes_on();
    const auto sections = decode_state_file(read_file(folder / "state"));
    const uint64_t last = pages_of(sections.value()).runs.back().first * 4096;
    flip(folder / "memory", last);
    expect_refused("don't have their checksum");
    flip(folder / "memory", last);
    goes_on();
    fs::resize_file(folder / "state", 1000);
    expect_refused("state file: ");
    EXPECT_EQ(drupe({"rmi", "live:damaged"}).exit_code, 0);
}

}  // namespace
}  // namespace drupe::testing
