// Anything as an index, a manifest, a config, Docker's manifest.json and a reference.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "imagefs/oci/image_config.h"
#include "imagefs/oci/manifest.h"
#include "imagefs/oci/reference.h"

using namespace drupe::imagefs::oci;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    static_cast<void>(Index::parse(text).has_value());
    static_cast<void>(Manifest::parse(text).has_value());
    static_cast<void>(parse_docker_manifest(text).has_value());
    static_cast<void>(ImageConfig::parse(std::string(text)).has_value());
    if (const auto reference = Reference::parse(text)) {
        // Both forms name the same image.
        const auto again = Reference::parse(reference.value().canonical());
        DRUPE_CHECK(again && again.value() == reference.value());
        const auto familiar = Reference::parse(reference.value().familiar());
        DRUPE_CHECK(familiar && familiar.value() == reference.value());
    }
    return 0;
}
