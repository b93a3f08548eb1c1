#include "vmm/memory/folded_pages.h"

#include <algorithm>
#include <array>

namespace drupe {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kWords = kPage / sizeof(uint64_t);
/// What a page may take, in words. One that takes more is worth less than the copying back.
constexpr size_t kMaxPacked = 128;

using Words = std::array<uint64_t, kWords>;

Words read_page(const GuestSlice& page) {
    Words words;
    page.copy_to(std::as_writable_bytes(std::span(words)));
    return words;
}

/// Appends what tells `content` from `beneath`. False if that is too much; what was appended until
/// then is the caller's to remove.
bool pack(uint64_t address, const Words& content, const Words& beneath,
          std::vector<uint64_t>& packed) {
    const size_t begin = packed.size();
    packed.push_back(address);
    for (size_t i = 0; i < kWords;) {
        if (content[i] == beneath[i]) {
            ++i;
            continue;
        }
        const size_t first = i;
        while (i < kWords && content[i] != beneath[i]) ++i;
        if (packed.size() - begin + 1 + (i - first) > kMaxPacked) return false;
        ++packed[begin];
        packed.push_back(first << 32 | (i - first));
        packed.insert(packed.end(), &content[first], &content[first] + (i - first));
    }
    return true;
}

}  // namespace

void FoldedPages::fold(std::span<const uint64_t> addresses) {
    for (const uint64_t address : addresses) fold_page(address);
    packed_.shrink_to_fit();
}

void FoldedPages::fold_page(uint64_t address) {
    const auto page = memory_.slice(address, kPage);
    if (!page) return;
    // Nothing may fail once the page is given up.
    if (packed_.capacity() - packed_.size() < kMaxPacked)
        packed_.reserve(std::max(packed_.size() + kMaxPacked, 2 * packed_.capacity()));
    const Words content = read_page(*page);
    if (!page->discard()) return;
    const size_t before = packed_.size();
    const bool small = pack(address, content, read_page(*page), packed_);
    const bool differs = packed_.size() > before + 1;
    if (small && differs)
        ++count_;
    else
        packed_.resize(before);
    if (!small) page->copy_from(std::as_bytes(std::span(content)));
}

void FoldedPages::unfold() {
    for (size_t at = 0; at < packed_.size();) {
        const uint64_t address = packed_[at] / kPage * kPage;
        const uint64_t runs = packed_[at] % kPage;
        const GuestSlice page = memory_.slice(address, kPage).value();
        ++at;
        for (uint64_t run = 0; run < runs; ++run) {
            const size_t first = packed_[at] >> 32;
            const size_t count = packed_[at] & UINT32_MAX;
            const auto words = std::span(packed_).subspan(at + 1, count);
            page.sub(first * sizeof(uint64_t), words.size_bytes())->copy_from(std::as_bytes(words));
            at += 1 + count;
        }
    }
    packed_ = {};
    count_ = 0;
}

}  // namespace drupe
