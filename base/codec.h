#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace drupe {

/// Appends little-endian values to a growing buffer. Bytes and strings carry a u32 length.
class Encoder {
  public:
    template <class T>
    void put(T value) {
        static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
        const size_t at = bytes_.size();
        bytes_.resize(at + sizeof value);
        std::memcpy(bytes_.data() + at, &value,
                    sizeof value);  // x86-64 and arm64 are little-endian
    }
    void put_bytes(std::string_view bytes) {
        put(static_cast<uint32_t>(bytes.size()));
        bytes_.append(bytes);
    }
    void put_raw(std::string_view bytes) { bytes_.append(bytes); }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }
    [[nodiscard]] std::string take() { return std::move(bytes_); }

  private:
    std::string bytes_;
};

/// Reads what Encoder wrote from bytes that may be anything. After the first failure every value is
/// zero or empty and ok() is false: decode all, then check once. Allocates no more than the input
/// holds.
class Decoder {
  public:
    explicit Decoder(std::string_view bytes) : rest_(bytes) {}

    template <class T>
    [[nodiscard]] T get() {
        static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
        T value{};
        if (rest_.size() < sizeof value) return fail(), value;
        std::memcpy(&value, rest_.data(), sizeof value);
        rest_.remove_prefix(sizeof value);
        return value;
    }
    [[nodiscard]] std::string_view get_bytes(size_t max = SIZE_MAX) {
        const auto size = get<uint32_t>();
        if (size > rest_.size() || size > max) return fail(), std::string_view();
        const std::string_view bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return bytes;
    }
    /// Exactly so many bytes.
    [[nodiscard]] std::string_view get_raw(size_t size) {
        if (size > rest_.size()) return fail(), std::string_view();
        const std::string_view bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return bytes;
    }
    /// The number of elements that follow, each of at least min_element_bytes (so that no count
    /// outgrows the input).
    [[nodiscard]] uint32_t get_count(uint32_t max, size_t min_element_bytes) {
        const auto count = get<uint32_t>();
        if (count > max || count > rest_.size() / min_element_bytes) return fail(), 0;
        return count;
    }
    [[nodiscard]] std::vector<std::string> get_list(uint32_t max_count, size_t max_bytes) {
        std::vector<std::string> list;
        const uint32_t count = get_count(max_count, sizeof(uint32_t));
        list.reserve(count);
        for (uint32_t i = 0; i < count && ok_; ++i) list.emplace_back(get_bytes(max_bytes));
        if (!ok_) list.clear();
        return list;
    }
    void fail() {
        ok_ = false;
        rest_ = {};
    }
    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] bool at_end() const { return ok_ && rest_.empty(); }
    [[nodiscard]] std::string_view rest() const { return rest_; }

  private:
    std::string_view rest_;
    bool ok_ = true;
};

inline void put_list(Encoder& out, const std::vector<std::string>& list) {
    out.put(static_cast<uint32_t>(list.size()));
    for (const std::string& item : list) out.put_bytes(item);
}

}  // namespace drupe
