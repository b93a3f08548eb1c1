#include "api/endpoints/body_source.h"

#include <vector>

namespace drupe::endpoints {

Result<imagefs::TmpFile> spool_body(http::Exchange& http, const std::string& folder) {
    constexpr size_t kChunk = 1 << 20;
    TRY_ASSIGN(imagefs::TmpFile file, imagefs::TmpFile::create(folder));
    std::vector<std::byte> buffer(kChunk);
    for (;;) {
        TRY_ASSIGN(const size_t got, http.read_body(buffer));
        if (got == 0) return file;
        TRY(write_all(file.fd(), std::span<const std::byte>(buffer).first(got)));
    }
}

}  // namespace drupe::endpoints
