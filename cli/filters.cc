#include "cli/filters.h"

#include "base/json_reader.h"

namespace drupe::cli {

Result<std::string> filters_json(const std::vector<std::string>& texts) {
    auto object = nlohmann::json::object();
    for (const std::string& text : texts) {
        const size_t equals = text.find('=');
        if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
            return Error{ErrorCode::kInvalid, "invalid filter '" + text + "': write KEY=VALUE"};
        }
        object[text.substr(0, equals)].push_back(text.substr(equals + 1));
    }
    return dump_json(object);
}

}  // namespace drupe::cli
