// Anything as a URL, a Location, a WWW-Authenticate or Content-Range field, and registries.json.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "imagefs/registry/base64.h"
#include "imagefs/registry/config.h"
#include "imagefs/registry/headers.h"
#include "imagefs/registry/url.h"

using namespace drupe::imagefs::registry;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const Url base = Url::parse("https://host.example:5000/v2/app/").value();
    for (const auto& url : {Url::parse(text), base.resolve(text)}) {
        if (!url) continue;
        // What is sent to a server has no room for a second line, and means the same again.
        const std::string shown = url.value().to_string();
        DRUPE_CHECK(shown.find_first_of("\r\n ") == std::string::npos);
        const auto again = Url::parse(shown);
        DRUPE_CHECK(again && again.value().to_string() == shown);
    }
    DRUPE_CHECK(parse_challenges(text).size() <= 16);
    if (const auto range = parse_content_range(text)) DRUPE_CHECK(range->first <= range->last);
    for (const char c : presentable(text)) DRUPE_CHECK(c >= ' ' || c < 0);
    static_cast<void>(Config::parse(text).has_value());
    static_cast<void>(base64_decode(text).has_value());
    return 0;
}
