#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace drupe::imagefs::oci {

/// The members of an uncompressed tar file by name, found by one walk over its headers, so that
/// each can be read in place, in any order and more than once. For the outer archives that `docker
/// save` and `skopeo copy oci-archive:` write.
class ArchiveIndex {
  public:
    struct Member {
        uint64_t offset = 0;
        uint64_t size = 0;
    };

    /// At most 100,000 members (kLimit). The descriptor stays the caller's.
    [[nodiscard]] static Result<ArchiveIndex> build(int fd);

    /// Symlinks between members (old `docker save` files share layers that way) are followed.
    [[nodiscard]] Result<Member> find(std::string_view name) const;
    [[nodiscard]] bool contains(std::string_view name) const;

  private:
    std::map<std::string, Member, std::less<>> files_;
    std::map<std::string, std::string, std::less<>> links_;
};

}  // namespace drupe::imagefs::oci
