#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/snapshot/page_runs.h"

namespace drupe {

/// RAM as what tells it from the memory file that it was mapped from. A machine that goes on from a
/// snapshot changes a few words in most of the pages that it writes to, so of 4 KiB some hundred
/// bytes are left.
///
///     fold -> GuestMemory::take_away -> GuestMemory::give_back -> unfold
///
/// One thread at a time.
class FoldedMemory {
  public:
    /// The file and runs that map_memory() had; no file: nothing is ever folded. The memory
    /// outlives this object.
    FoldedMemory(const GuestMemory& memory, Fd file, std::vector<PageRun> runs);

    [[nodiscard]] bool possible() const { return file_.valid(); }

    /// These pages will soon be folded: what lies beneath is read from the disk in the background.
    void prepare(const std::vector<uint64_t>& pages) const;
    /// Notes in what these pages (own_pages(): all of them) differ from what lies beneath. The
    /// guest stands still and its devices are quiet, until unfold(). RAM isn't changed. kLimit if
    /// that is more than seven eighths of the pages: it isn't worth it.
    [[nodiscard]] Status fold(const std::vector<uint64_t>& pages);
    /// Makes fresh RAM what it was. What was noted is forgotten.
    [[nodiscard]] Status unfold();
    void forget();

    /// Pages that differ, and what they take.
    [[nodiscard]] size_t count() const { return count_; }
    [[nodiscard]] size_t bytes() const { return packed_.size() * sizeof(uint64_t); }

  private:
    class Beneath;
    template <class Each>
    void for_each_packed(const Each& each) const;
    void will_read(uint64_t page) const;

    const GuestMemory& memory_;
    Fd file_;
    std::vector<PageRun> runs_;
    /// For each page its number and how many runs of words it has; for each run the first word's
    /// index (upper half) and how many there are, and these words.
    std::vector<uint64_t> packed_;
    size_t count_ = 0;
};

}  // namespace drupe
