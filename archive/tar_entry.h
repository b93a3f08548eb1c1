#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace drupe::archive {

/// The tar format's own letters.
enum class Type : char {
    kFile = '0',
    kHardLink = '1',
    kSymlink = '2',
    kCharDevice = '3',
    kBlockDevice = '4',
    kDirectory = '5',
    kFifo = '6',
};

/// What an archive says about one file. Names are bytes, as Linux has them.
struct Entry {
    std::string name;  ///< As it stands in the archive; a directory's may end with a slash.
    Type type = Type::kFile;
    mode_t mode = 0;  ///< Permissions, setuid, setgid and sticky: 07777 at most.
    uint64_t uid = 0;
    uint64_t gid = 0;
    uint64_t size = 0;  ///< Bytes of content that follow; a file's only.
    int64_t mtime_s = 0;
    uint32_t mtime_ns = 0;
    std::string link;    ///< A symbolic link's target, or the entry a hard link is another name of.
    uint32_t major = 0;  ///< A device's.
    uint32_t minor = 0;
    std::vector<std::pair<std::string, std::string>> xattrs;  ///< Name and value.
};

}  // namespace drupe::archive
