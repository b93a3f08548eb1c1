#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace drupe::protocol {

/// The bytes [begin, end) of an endless stream, at most `capacity` of them. Its memory grows with
/// what it holds.
class ByteRing {
  public:
    /// capacity: a power of two, at least 4096.
    explicit ByteRing(size_t capacity, uint64_t begin = 0)
        : capacity_(capacity), begin_(begin), end_(begin) {}

    [[nodiscard]] uint64_t begin() const { return begin_; }
    [[nodiscard]] uint64_t end() const { return end_; }
    [[nodiscard]] size_t size() const { return static_cast<size_t>(end_ - begin_); }
    [[nodiscard]] size_t room() const { return capacity_ - size(); }
    [[nodiscard]] bool empty() const { return begin_ == end_; }

    /// Free space behind the end, in one piece; empty iff there is no room. commit() makes its
    /// first n bytes part of the stream.
    [[nodiscard]] std::span<char> writable();
    void commit(size_t n) { end_ += n; }
    /// Appends the front of bytes, as much as there is room for; says how much.
    size_t append(std::string_view bytes);
    /// Bytes from offset on, in one piece: at most max, and none if offset isn't in [begin, end).
    [[nodiscard]] std::string_view peek(uint64_t offset, size_t max) const;
    /// Forgets what is before offset, which is in [begin, end].
    void drop_until(uint64_t offset) { begin_ = offset; }

  private:
    void grow();

    size_t capacity_;
    uint64_t begin_;
    uint64_t end_;
    size_t storage_size_ = 0;  // a power of two; offset o is at o modulo this
    std::unique_ptr<char[]> storage_;
};

}  // namespace drupe::protocol
