#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "api/engine/launcher.h"
#include "api/engine/paths.h"
#include "base/fd.h"
#include "base/result.h"

namespace drupe::engine {

/// What machines have in common that may go on from one template.
struct TemplateShape {
    uint64_t memory_bytes = 0;
    uint32_t vcpus = 1;
};

/// A template's files, to be read (docs/formats/snapshot.md).
struct TemplateFiles {
    Fd state;
    Fd memory;
};

/// Templates: machines that have booted, and wait for their first order, as snapshots. There is no
/// image in one and nothing of any container. A template belongs to one boot of the host (so that
/// processor, KVM and clock are what they were), one kernel, init and monitor (by their files'
/// numbers, sizes and times), and one shape.
///
///     ROOT/templates/BOOT/KEY/  state (last, by a rename: it is whole), memory, exit.json, ...
///     RUN/templates/KEY/        lock (who changes it), alive (its machine), control
///
/// A template is made by a monitor in the background; nobody waits for it. Whatever is killed on
/// the way, the next one who looks finishes or starts over. Used by any number of processes.
class Templates {
  public:
    /// The launcher stays the caller's.
    Templates(const Paths& paths, MonitorLauncher& launcher) : paths_(paths), launcher_(launcher) {}

    /// nullopt: there is none, or it isn't ready.
    [[nodiscard]] Result<std::optional<TemplateFiles>> find(const TemplateShape& shape) const;
    /// Has one made, unless that is under way or failed a moment ago. Returns when its machine
    /// runs.
    [[nodiscard]] Status make(const TemplateShape& shape) const;
    /// Removes one that turned out not to be usable. Machines that came from it live on.
    [[nodiscard]] Status remove(const TemplateShape& shape) const;
    /// Removes those of earlier boots, and the oldest beyond kMaxTemplates.
    [[nodiscard]] Status sweep() const;

    static constexpr size_t kMaxTemplates = 16;

  private:
    struct Place;  // where a shape's template lies
    [[nodiscard]] Result<Place> place(const TemplateShape& shape) const;
    [[nodiscard]] Result<bool> publish(const Place& place) const;
    [[nodiscard]] Status launch(const Place& place, const TemplateShape& shape) const;

    Paths paths_;
    MonitorLauncher& launcher_;
};

/// The host user and group of monitors that make templates: no container's.
inline constexpr uint32_t kTemplateUid = 199'999;

}  // namespace drupe::engine
