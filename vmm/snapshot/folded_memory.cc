#include "vmm/snapshot/folded_memory.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "vmm/snapshot/memory_file.h"

namespace drupe {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kWords = kPage / sizeof(uint64_t);

/// Less than an eighth saved isn't worth it. Not more than that: what doesn't differ at all is
/// saved once, and isn't among the pages any more the next time.
constexpr size_t kLeastSaved = 8;

using Words = std::array<uint64_t, kWords>;

/// Appends what tells `content` from `beneath`. False if there is nothing.
bool pack(uint64_t page, const Words& content, const Words& beneath,
          std::vector<uint64_t>& packed) {
    const size_t begin = packed.size();
    uint64_t runs = 0;
    for (size_t i = 0; i < kWords;) {
        if (content[i] == beneath[i]) {
            ++i;
            continue;
        }
        const size_t first = i;
        while (i < kWords && content[i] != beneath[i]) ++i;
        if (runs++ == 0) packed.insert(packed.end(), {page, 0});
        packed.push_back(first << 32 | (i - first));
        packed.insert(packed.end(), &content[first], &content[0] + i);
    }
    if (runs != 0) packed[begin + 1] = runs;
    return runs != 0;
}

}  // namespace

/// The memory file as it is mapped. Pages are asked for in rising order.
class FoldedMemory::Beneath {
  public:
    Beneath(int fd, const std::vector<PageRun>& runs) : fd_(fd), runs_(runs) {}

    /// What a page is that nobody has written to.
    [[nodiscard]] Result<Words> page(uint64_t number) {
        while (run_ < runs_.size() && runs_[run_].first + runs_[run_].count <= number) ++run_;
        Words words{};
        if (run_ < runs_.size() && runs_[run_].first <= number) {
            TRY(read_exact(fd_, std::as_writable_bytes(std::span(words)),
                           static_cast<off_t>(number * kPage)));
        }
        return words;
    }

  private:
    const int fd_;
    const std::vector<PageRun>& runs_;
    size_t run_ = 0;
};

FoldedMemory::FoldedMemory(const GuestMemory& memory, Fd file, std::vector<PageRun> runs)
    : memory_(memory), file_(std::move(file)), runs_(std::move(runs)) {}

Status FoldedMemory::fold(const std::vector<uint64_t>& pages) {
    forget();
    Beneath beneath(file_.get(), runs_);
    for (const uint64_t number : pages) {
        Words content;
        memory_.page(number).copy_to(std::as_writable_bytes(std::span(content)));
        const auto was = beneath.page(number);
        if (!was) {
            forget();
            return was.error();
        }
        if (pack(number, content, was.value(), packed_)) ++count_;
        if (bytes() > pages.size() * (kPage - kPage / kLeastSaved)) {
            forget();
            return Error{ErrorCode::kLimit, "all of what it has changed is its own"};
        }
    }
    packed_.shrink_to_fit();
    return ok();
}

/// Calls each(page, where its number of runs is).
template <class Each>
void FoldedMemory::for_each_packed(const Each& each) const {
    for (auto at = packed_.begin(); at != packed_.end();) {
        const uint64_t page = *at++;
        each(page, at);
        for (uint64_t runs = *at++; runs > 0; --runs)
            at += 1 + static_cast<ptrdiff_t>(*at & UINT32_MAX);
    }
}

/// The file's pages are often in nobody's memory: this machine has copies of them.
void FoldedMemory::will_read(uint64_t page) const {
    (void)::posix_fadvise(file_.get(), static_cast<off_t>(page * kPage), kPage,
                          POSIX_FADV_WILLNEED);
}

void FoldedMemory::prepare(const std::vector<uint64_t>& pages) const {
    for (const uint64_t page : pages) will_read(page);
}

Status FoldedMemory::unfold() {
    for_each_packed([this](uint64_t page, auto) { will_read(page); });
    MemoryPages pages;
    pages.total = memory_.total_size() / kPage;
    pages.runs = runs_;
    TRY(map_memory(memory_, file_.get(), pages));
    for_each_packed([this](uint64_t number, auto at) {
        const GuestSlice page = memory_.page(number);
        for (uint64_t runs = *at++; runs > 0; --runs) {
            const size_t first = *at >> 32;
            const size_t count = *at++ & UINT32_MAX;
            const auto words = std::as_bytes(std::span(at, at + static_cast<ptrdiff_t>(count)));
            page.sub(first * sizeof(uint64_t), words.size())->copy_from(words);
            at += static_cast<ptrdiff_t>(count);
        }
    });
    forget();
    return ok();
}

void FoldedMemory::forget() {
    packed_ = std::vector<uint64_t>();  // {} would keep its room
    count_ = 0;
}

}  // namespace drupe
