// Anything as an outer archive, and as compressed data.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/fd.h"
#include "imagefs/oci/archive_index.h"
#include "imagefs/oci/decompress.h"

using namespace drupe::imagefs;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
    const drupe::Fd file(memfd_create("archive", MFD_CLOEXEC));
    DRUPE_CHECK(drupe::write_exact(file.get(), bytes, 0).has_value());
    if (const auto index = oci::ArchiveIndex::build(file.get())) {
        if (const auto member = index.value().find("manifest.json")) {
            DRUPE_CHECK(member.value().offset <= size);
            DRUPE_CHECK(member.value().size <= size - member.value().offset);
        }
    }
    const auto source =
        oci::make_memory_source(std::string(reinterpret_cast<const char*>(data), size));
    if (const auto plain = oci::make_decompressor(*source)) {
        static_cast<void>(oci::read_all(*plain.value().source, 1 << 20, "input").has_value());
    }
    return 0;
}
