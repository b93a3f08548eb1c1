#include "imagefs/registry/headers.h"

#include <algorithm>
#include <charconv>

namespace drupe::imagefs::registry {
namespace {

constexpr size_t kMaxChallenges = 16;
constexpr size_t kMaxParams = 32;
constexpr size_t kMaxShown = 200;

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
    return out;
}
bool same(std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                              [](char x, char y) { return lower(x) == lower(y); });
}

bool is_token_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

/// What is left of a field while it is read.
class Cursor {
  public:
    explicit Cursor(std::string_view text) : rest_(text) {}

    bool skip(char c) {
        if (rest_.empty() || rest_.front() != c) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void skip_blanks() {
        while (skip(' ') || skip('\t')) {
        }
    }
    void skip_separators() {
        while (skip(',') || skip(' ') || skip('\t')) {
        }
    }
    std::string_view token() {
        size_t end = 0;
        while (end < rest_.size() && is_token_char(rest_[end])) ++end;
        const std::string_view found = rest_.substr(0, end);
        rest_.remove_prefix(end);
        return found;
    }
    /// A token or a quoted string.
    std::optional<std::string> value() {
        if (!skip('"')) {
            const std::string_view found = token();
            return found.empty() ? std::nullopt : std::optional(std::string(found));
        }
        std::string text;
        while (!rest_.empty()) {
            char c = rest_.front();
            rest_.remove_prefix(1);
            if (c == '"') return text;
            if (c == '\\') {
                if (rest_.empty()) break;
                c = rest_.front();
                rest_.remove_prefix(1);
            }
            text += c;
        }
        return std::nullopt;
    }
    [[nodiscard]] bool empty() const { return rest_.empty(); }

  private:
    std::string_view rest_;
};

}  // namespace

std::string_view Headers::get(std::string_view name) const {
    for (const auto& [key, value] : fields_) {
        if (same(key, name)) return value;
    }
    return {};
}

std::vector<std::string_view> Headers::all(std::string_view name) const {
    std::vector<std::string_view> values;
    for (const auto& [key, value] : fields_) {
        if (same(key, name)) values.emplace_back(value);
    }
    return values;
}

void Headers::remove(std::string_view name) {
    std::erase_if(fields_, [&](const auto& field) { return same(field.first, name); });
}

std::vector<Challenge> parse_challenges(std::string_view field) {
    std::vector<Challenge> challenges;
    Cursor in(field);
    // `scheme p=v, p=v, scheme p=v`: a token with a "=" behind it is a parameter, else a scheme.
    while (true) {
        in.skip_separators();
        const std::string_view word = in.token();
        if (word.empty()) return challenges;
        Cursor ahead = in;
        ahead.skip_blanks();
        if (!ahead.skip('=')) {
            if (challenges.size() == kMaxChallenges) return challenges;
            challenges.push_back({lower(word), {}});
            continue;
        }
        ahead.skip_blanks();
        auto value = ahead.value();
        if (!value || challenges.empty()) return challenges;
        auto& params = challenges.back().params;
        if (params.size() < kMaxParams) params.emplace(lower(word), std::move(*value));
        in = ahead;
    }
}

std::optional<uint64_t> parse_number(std::string_view text) {
    uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
    return number;
}

std::optional<ContentRange> parse_content_range(std::string_view field) {
    constexpr std::string_view kUnit = "bytes ";
    if (!field.starts_with(kUnit)) return std::nullopt;
    field.remove_prefix(kUnit.size());
    const size_t dash = field.find('-');
    const size_t slash = field.find('/');
    if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) {
        return std::nullopt;
    }
    const auto first = parse_number(field.substr(0, dash));
    const auto last = parse_number(field.substr(dash + 1, slash - dash - 1));
    if (!first || !last || *last < *first) return std::nullopt;
    ContentRange range{*first, *last, std::nullopt};
    const std::string_view total = field.substr(slash + 1);
    if (total == "*") return range;
    range.total = parse_number(total);
    if (!range.total || *range.total <= *last) return std::nullopt;
    return range;
}

std::string presentable(std::string_view text) {
    std::string out(text.substr(0, kMaxShown));
    std::replace_if(
        out.begin(), out.end(), [](char c) { return c < ' ' || c == '\x7f'; }, ' ');
    return out;
}

}  // namespace drupe::imagefs::registry
