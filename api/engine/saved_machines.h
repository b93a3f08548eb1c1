#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"
#include "base/fd.h"
#include "base/result.h"
#include "monitor/control.h"
#include "vmm/snapshot/working_set.h"

namespace drupe::engine {

/// kConflict, with why, if a snapshot of a container's machine can't be taken.
[[nodiscard]] Status check_can_be_saved(const Container& container, std::string_view query);
/// What a machine that runs already can't be given any more, as users call it; empty: nothing.
[[nodiscard]] std::string_view what_needs_a_start(const ContainerConfig& config);

/// What a machine was saved of, as its machine.json has it.
struct SavedMachine {
    std::string chain;          ///< The disk that fits it; an image's own has its journal replayed.
    std::string pin;            ///< The top that keeps this disk from being pruned.
    uint64_t memory_bytes = 0;  ///< As in ContainerConfig, as the rest.
    uint64_t nano_cpus = 0;
    uint64_t pids_limit = 0;
    bool tty = false;
    bool open_stdin = false;
    uint64_t memory_file_bytes = 0;  ///< The length of its memory.
    uint16_t protocol = 0;           ///< The version that its drupe-init speaks.

    // Of a checkpoint; an image's have none.
    std::string container;       ///< Its id.
    std::string name;            ///< Among the container's.
    uint64_t created_at_ns = 0;  ///< CLOCK_REALTIME
};

/// Memories of machines, below one folder, under the id of an image that was committed live or
/// under one of their own:
///
///     ID/ (64 hex digits)  machine.json, state, memory, working_set (docs/formats/snapshot.md)
///     new-RANDOM/          of a command that is under way, or has died
///
/// Used by any number of processes.
class SavedMachines {
  public:
    explicit SavedMachines(std::string folder) : folder_(std::move(folder)) {}

    /// A folder with two empty files; who holds them open is alive. pin: for a top of its own.
    struct New {
        std::string folder;
        std::string pin;
        control::Snapshot files;
    };
    [[nodiscard]] Result<New> begin() const;
    /// Durable, and whole, when this returns. In the place of an earlier one.
    [[nodiscard]] Status publish(const New& made, const SavedMachine& machine,
                                 std::string_view id) const;
    /// nullopt: there is none.
    [[nodiscard]] Result<std::optional<SavedMachine>> find(std::string_view id) const;
    [[nodiscard]] Result<control::Snapshot> open(std::string_view id) const;
    /// Which pages of its memory are needed at first, to be read; invalid: nobody has looked yet.
    [[nodiscard]] Fd open_working_set(std::string_view id) const;
    /// And it makes sense.
    [[nodiscard]] bool knows_working_set(std::string_view id) const;
    [[nodiscard]] Status keep_working_set(std::string_view id, const WorkingSet& set) const;
    /// kCorrupt if its files aren't whole, as far as that can be told without reading its memory.
    [[nodiscard]] Status check(std::string_view id, const SavedMachine& machine) const;
    /// kCorrupt if its memory hasn't its checksums. Reads all of it.
    [[nodiscard]] Status verify(std::string_view id, const SavedMachine& machine) const;
    /// What it takes of the host's disk.
    [[nodiscard]] uint64_t stored_bytes(std::string_view id) const;
    [[nodiscard]] Status remove(std::string_view id) const;

    /// "sha256:..." of all there are.
    [[nodiscard]] std::vector<std::string> ids() const;
    /// Of commands that have died; without files.
    [[nodiscard]] Result<std::vector<New>> dead() const;
    [[nodiscard]] Status remove(const New& dead) const;

  private:
    [[nodiscard]] std::string folder_of(std::string_view id) const;
    /// Held shared while a new folder is made, and alone while dead ones are looked for.
    [[nodiscard]] Result<Fd> lock_folder(int operation) const;
    std::string folder_;
};

}  // namespace drupe::engine
