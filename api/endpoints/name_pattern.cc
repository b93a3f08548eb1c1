#include "api/endpoints/name_pattern.h"

namespace drupe::endpoints {
namespace {

constexpr size_t kMaxBytes = 256;

}  // namespace

void NamePattern::Free::operator()(regex_t* regex) const {
    ::regfree(regex);
    delete regex;  // NOLINT: made below
}

Result<NamePattern> NamePattern::compile(const std::string& text) {
    const Error bad{ErrorCode::kInvalid, "invalid filter 'name=" + text.substr(0, 64) + "'"};
    if (text.size() > kMaxBytes || text.find_first_of("{\\") != std::string::npos) return bad;
    auto regex = std::make_unique<regex_t>();
    if (::regcomp(regex.get(), text.c_str(), REG_EXTENDED | REG_NOSUB) != 0) return bad;
    NamePattern pattern;
    pattern.regex_.reset(regex.release());
    return pattern;
}

bool NamePattern::matches(const std::string& name) const {
    return ::regexec(regex_.get(), name.c_str(), 0, nullptr, 0) == 0;
}

}  // namespace drupe::endpoints
