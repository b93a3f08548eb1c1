#include "vmm/snapshot/folded_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "vmm/snapshot/memory_file.h"

namespace drupe {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kWords = kPage / sizeof(uint64_t);

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

/// The memory file as it would be mapped, without being it.
class FoldedMemory::Beneath {
  public:
    [[nodiscard]] static Result<Beneath> map(int fd, uint64_t size,
                                             const std::vector<PageRun>& runs) {
        void* const bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) return os_error("map a memory file");
        return Beneath(static_cast<const std::byte*>(bytes), size, runs);
    }
    Beneath(Beneath&& other) noexcept
        : bytes_(std::exchange(other.bytes_, nullptr)), size_(other.size_), runs_(other.runs_) {}
    Beneath& operator=(Beneath&&) = delete;
    ~Beneath() {
        if (bytes_ != nullptr) ::munmap(const_cast<std::byte*>(bytes_), size_);
    }

    /// What a page is that nobody has written to. Pages are asked for in rising order.
    [[nodiscard]] Words page(uint64_t number) {
        while (run_ < runs_.size() && runs_[run_].first + runs_[run_].count <= number) ++run_;
        Words words{};
        if (run_ < runs_.size() && runs_[run_].first <= number)
            std::copy_n(bytes_ + number * kPage, kPage,
                        std::as_writable_bytes(std::span(words)).data());
        return words;
    }

  private:
    Beneath(const std::byte* bytes, uint64_t size, const std::vector<PageRun>& runs)
        : bytes_(bytes), size_(size), runs_(runs) {}

    const std::byte* bytes_;
    uint64_t size_;
    const std::vector<PageRun>& runs_;
    size_t run_ = 0;
};

FoldedMemory::FoldedMemory(const GuestMemory& memory, Fd file, std::vector<PageRun> runs)
    : memory_(memory), file_(std::move(file)), runs_(std::move(runs)) {}

Status FoldedMemory::fold(const std::vector<uint64_t>& pages) {
    forget();
    TRY_ASSIGN(Beneath beneath, Beneath::map(file_.get(), memory_.total_size(), runs_));
    for (const uint64_t number : pages) {
        Words content;
        memory_.page(number).copy_to(std::as_writable_bytes(std::span(content)));
        if (pack(number, content, beneath.page(number), packed_)) ++count_;
        if (bytes() > pages.size() * kPage / 2) {
            forget();
            return Error{ErrorCode::kLimit, "most of what it has changed is its own"};
        }
    }
    packed_.shrink_to_fit();
    return ok();
}

Status FoldedMemory::unfold() {
    MemoryPages pages;
    pages.total = memory_.total_size() / kPage;
    pages.runs = runs_;
    TRY(map_memory(memory_, file_.get(), pages));
    for (auto at = packed_.begin(); at != packed_.end();) {
        const GuestSlice page = memory_.page(*at++);
        for (uint64_t runs = *at++; runs > 0; --runs) {
            const size_t first = *at >> 32;
            const size_t count = *at++ & UINT32_MAX;
            const auto words = std::as_bytes(std::span(at, at + static_cast<ptrdiff_t>(count)));
            page.sub(first * sizeof(uint64_t), words.size())->copy_from(words);
            at += static_cast<ptrdiff_t>(count);
        }
    }
    forget();
    return ok();
}

void FoldedMemory::forget() {
    packed_ = {};
    count_ = 0;
}

}  // namespace drupe
