#include "api/engine/detach_keys.h"

namespace drupe::engine {

Result<std::string> parse_detach_keys(std::string_view text) {
    const Error bad{ErrorCode::kInvalid, "invalid detach keys '" + std::string(text.substr(0, 64)) +
                                             "': write a list like ctrl-p,ctrl-q or a,b"};
    std::string keys;
    while (!text.empty()) {
        const size_t comma = text.find(',');
        const std::string_view key = text.substr(0, comma);
        text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
        if (key.size() == 1) {
            keys += key.front();
        } else if (key.size() == 6 && key.starts_with("ctrl-") &&
                   ((key[5] >= 'a' && key[5] <= 'z') || (key[5] >= '@' && key[5] <= '_'))) {
            keys += static_cast<char>(key[5] & 0x1f);
        } else {
            return bad;
        }
    }
    return keys;
}

std::string DetachKeys::pass(std::string_view typed) {
    std::string out;
    if (keys_.empty()) return std::string(typed);
    for (const char c : typed) {
        if (c != keys_[held_]) {
            out.append(keys_, 0, held_);
            held_ = 0;
        }
        if (c != keys_[held_]) {
            out += c;
        } else if (++held_ == keys_.size()) {
            matched_ = true;
            return out;
        }
    }
    return out;
}

}  // namespace drupe::engine
