#include "api/engine/names.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace drupe::engine {
namespace {

constexpr std::array<std::string_view, 64> kAdjectives{
    "agile",  "amber",  "ample",  "ardent", "bold",   "brave",  "breezy", "bright",
    "brisk",  "calm",   "candid", "cheery", "civil",  "clear",  "clever", "cosmic",
    "cozy",   "crisp",  "deft",   "eager",  "early",  "fair",   "fleet",  "fond",
    "frank",  "fresh",  "gentle", "glad",   "golden", "grand",  "happy",  "hardy",
    "honest", "humble", "jolly",  "keen",   "kind",   "lively", "loyal",  "lucid",
    "mellow", "merry",  "mild",   "modest", "neat",   "nimble", "noble",  "patient",
    "plucky", "polite", "proud",  "quick",  "quiet",  "rapid",  "ready",  "royal",
    "serene", "sharp",  "solid",  "steady", "sunny",  "swift",  "tidy",   "vivid"};
constexpr std::array<std::string_view, 64> kNouns{
    "acorn",   "alder",   "apple",   "apricot",  "aspen",    "beech",      "berry",   "birch",
    "bramble", "cedar",   "cherry",  "chestnut", "clover",   "coconut",    "cypress", "damson",
    "elder",   "elm",     "fern",    "fig",      "fir",      "gooseberry", "grape",   "hazel",
    "heather", "hemlock", "hickory", "holly",    "iris",     "ivy",        "juniper", "kiwi",
    "larch",   "laurel",  "lemon",   "lilac",    "lime",     "linden",     "lotus",   "mango",
    "maple",   "medlar",  "melon",   "mulberry", "myrtle",   "nectarine",  "oak",     "olive",
    "orange",  "papaya",  "peach",   "pear",     "pine",     "plum",       "poplar",  "quince",
    "redwood", "rowan",   "sloe",    "spruce",   "sycamore", "tamarind",   "walnut",  "willow"};

constexpr size_t kMaxNameBytes = 128;

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

Result<std::string> random_bytes(size_t count) {
    std::string bytes(count, '\0');
    size_t have = 0;
    while (have < count) {
        const ssize_t n = ::getrandom(bytes.data() + have, count - have, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("getrandom");
        have += static_cast<size_t>(n);
    }
    return bytes;
}

std::string to_hex(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

Result<std::string> random_id() {
    for (;;) {
        TRY_ASSIGN(const std::string bytes, random_bytes(32));
        std::string id = to_hex(bytes);
        const auto is_letter = [](char c) { return c >= 'a'; };
        if (std::any_of(id.begin(), id.begin() + 12, is_letter)) return id;
    }
}

std::string generated_name(uint64_t random, unsigned attempt) {
    std::string name = fmt::format("{}_{}", kAdjectives[random % kAdjectives.size()],
                                   kNouns[random / kAdjectives.size() % kNouns.size()]);
    if (attempt >= 2) {
        const uint64_t more = random / (kAdjectives.size() * kNouns.size());
        name += std::to_string(more % (attempt < 6 ? 100 : 1'000'000));
    }
    return name;
}

Status check_name(std::string_view name) {
    const auto allowed = [](char c) {
        return is_alphanumeric(c) || c == '_' || c == '.' || c == '-';
    };
    if (name.size() < 2 || name.size() > kMaxNameBytes || !is_alphanumeric(name.front()) ||
        !std::all_of(name.begin(), name.end(), allowed)) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are "
                                 "allowed, 2 to {} characters",
                                 name.substr(0, kMaxNameBytes), kMaxNameBytes)};
    }
    return ok();
}

}  // namespace drupe::engine
