// The reader on any bytes: bounded, and every entry it gives can be written and read again as the
// same.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "archive/tar_reader.h"
#include "archive/tar_writer.h"
#include "base/check.h"
#include "base/fd.h"

namespace drupe::archive {
namespace {

Fd memory_file() {
    return Fd(::memfd_create("tar", MFD_CLOEXEC));
}

void check_again(Entry entry) {
    entry.size = 0;
    const Fd file = memory_file();
    TarWriter writer(file.get());
    DRUPE_CHECK(writer.add(entry).has_value() && writer.finish().has_value());
    DRUPE_CHECK(::lseek(file.get(), 0, SEEK_SET) == 0);
    TarReader reader(file.get());
    const auto again = reader.next();
    // What doesn't fit the bounds any more with a slash or more records is refused.
    if (!again || !again.value()) return;
    DRUPE_CHECK(again.value()->link == entry.link && again.value()->xattrs == entry.xattrs);
    DRUPE_CHECK(again.value()->uid == entry.uid && again.value()->mode == entry.mode);
    DRUPE_CHECK(again.value()->mtime_s == entry.mtime_s &&
                again.value()->mtime_ns == entry.mtime_ns);
}

}  // namespace
}  // namespace drupe::archive

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace drupe::archive;
    const drupe::Fd file = memory_file();
    DRUPE_CHECK(::write(file.get(), data, size) == static_cast<ssize_t>(size));
    DRUPE_CHECK(::lseek(file.get(), 0, SEEK_SET) == 0);
    TarReader reader(file.get());
    std::vector<std::byte> buffer(4096);
    for (;;) {
        const auto entry = reader.next();
        if (!entry || !entry.value()) break;
        DRUPE_CHECK(entry.value()->name.size() <= TarReader::kMaxPathBytes);
        check_again(*entry.value());
        for (auto got = reader.read(buffer); got && got.value() != 0; got = reader.read(buffer)) {
        }
    }
    DRUPE_CHECK(reader.bytes() <= size);
    return 0;
}
