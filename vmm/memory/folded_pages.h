#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/memory/guest_memory.h"

namespace drupe {

/// Pages of RAM that aren't in memory but for what tells them from the file that they were mapped
/// from (or from zeroes, in fresh RAM). A machine that goes on from a snapshot changes a few words
/// in most of its pages: of 4 KiB some hundred bytes are left.
///
/// From fold() to unfold() RAM has the wrong content: the guest stands still, its devices are
/// quiet, and nobody looks. One thread at a time.
class FoldedPages {
  public:
    /// The memory outlives this object.
    explicit FoldedPages(const GuestMemory& memory) : memory_(memory) {}

    /// Folds these pages, by their guest-physical addresses, each once. One that differs in too
    /// much, or that the host doesn't take back, stays as it is.
    void fold(std::span<const uint64_t> addresses);
    /// All pages are as they were.
    void unfold();

    /// Of pages that differ from what lies beneath.
    [[nodiscard]] size_t count() const { return count_; }
    /// What they take.
    [[nodiscard]] size_t bytes() const { return packed_.size() * sizeof(uint64_t); }

  private:
    void fold_page(uint64_t address);

    const GuestMemory& memory_;
    /// For each page its address, with the number of its runs in the lowest bits; for each run the
    /// first word's index (upper half) and how many there are, and these words.
    std::vector<uint64_t> packed_;
    size_t count_ = 0;
};

}  // namespace drupe
