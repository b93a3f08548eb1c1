#include "imagefs/oci/archive_index.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace drupe::imagefs::oci {
namespace {

constexpr uint64_t kBlock = 512;
constexpr size_t kMaxMembers = 100'000;
constexpr uint64_t kMaxExtendedHeader = 1 << 20;

using Header = std::array<char, kBlock>;

std::string_view field(const Header& header, size_t at, size_t size) {
    const std::string_view raw(header.data() + at, size);
    return raw.substr(0, std::min(raw.find('\0'), size));
}

/// Octal digits between spaces, or big-endian after a byte of 0x80.
Result<uint64_t> number(const Header& header, size_t at, size_t size) {
    const Error bad{ErrorCode::kCorrupt, "a malformed number in a tar header"};
    const auto first = static_cast<unsigned char>(header[at]);
    uint64_t value = 0;
    if (first >= 0x80) {
        if (first != 0x80) return bad;
        for (size_t i = 1; i < size; ++i) {
            if (value >> 55 != 0) return bad;
            value = value << 8 | static_cast<unsigned char>(header[at + i]);
        }
        return value;
    }
    std::string_view text = field(header, at, size);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    for (const char c : text) {
        if (c < '0' || c > '7' || value >> 60 != 0) return bad;
        value = value << 3 | static_cast<uint64_t>(c - '0');
    }
    return value;
}

bool checksum_matches(const Header& header) {
    uint64_t sum = 0;
    for (size_t i = 0; i < kBlock; ++i) {
        sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
    }
    const auto stored = number(header, 148, 8);
    return stored && stored.value() == sum;
}

/// Names of members without "./", and links' targets relative to the folder they lie in.
std::string normalize(std::string_view folder, std::string_view path) {
    std::vector<std::string_view> parts;
    const auto push = [&](std::string_view text) {
        while (!text.empty()) {
            const size_t slash = std::min(text.find('/'), text.size());
            const std::string_view part = text.substr(0, slash);
            text.remove_prefix(std::min(slash + 1, text.size()));
            if (part.empty() || part == ".") continue;
            if (part != "..") {
                parts.push_back(part);
            } else if (!parts.empty()) {
                parts.pop_back();
            }
        }
    };
    push(folder);
    push(path);
    std::string joined;
    for (const std::string_view part : parts) {
        if (!joined.empty()) joined += '/';
        joined += part;
    }
    return joined;
}

/// What PAX and GNU headers say of the member that follows them.
struct Override {
    std::string name;
    std::string link;
    bool has_size = false;
    uint64_t size = 0;
};

Status apply_pax(std::string_view records, Override& next) {
    const Error bad{ErrorCode::kCorrupt, "a malformed PAX header"};
    while (!records.empty()) {
        size_t length = 0;
        size_t digits = 0;
        while (digits < records.size() && digits < 8 && records[digits] >= '0' &&
               records[digits] <= '9') {
            length = length * 10 + static_cast<size_t>(records[digits++] - '0');
        }
        if (digits == 0 || length < digits + 3 || length > records.size() ||
            records[digits] != ' ' || records[length - 1] != '\n') {
            return bad;
        }
        const std::string_view record = records.substr(digits + 1, length - digits - 2);
        records.remove_prefix(length);
        const size_t equals = record.find('=');
        if (equals == std::string_view::npos) return bad;
        const std::string_view key = record.substr(0, equals);
        const std::string_view value = record.substr(equals + 1);
        if (key == "path") next.name = value;
        if (key == "linkpath") next.link = value;
        if (key == "size") {
            if (value.empty() || value.size() > 18 ||
                value.find_first_not_of("0123456789") != std::string_view::npos) {
                return bad;
            }
            next.has_size = true;
            next.size = std::stoull(std::string(value));
        }
    }
    return ok();
}

}  // namespace

Result<ArchiveIndex> ArchiveIndex::build(int fd) {
    struct stat info {};
    if (fstat(fd, &info) != 0) return os_error("look at the archive");
    const auto end = static_cast<uint64_t>(info.st_size);
    ArchiveIndex index;
    Override next;
    uint64_t at = 0;
    size_t count = 0;
    while (at + kBlock <= end) {
        Header header{};
        TRY(read_exact(fd, std::as_writable_bytes(std::span(header)), at));
        at += kBlock;
        if (std::all_of(header.begin(), header.end(), [](char c) { return c == '\0'; })) break;
        if (!checksum_matches(header)) return Error{ErrorCode::kInvalid, "not a tar archive"};
        if (++count > kMaxMembers) {
            return Error{ErrorCode::kLimit,
                         fmt::format("the archive has more than {} members", kMaxMembers)};
        }
        TRY_ASSIGN(uint64_t size, number(header, 124, 12));
        const char type = header[156];
        const bool extends = type == 'x' || type == 'L' || type == 'K' || type == 'g';
        if (!extends && next.has_size) size = next.size;
        if (size > end - at) return Error{ErrorCode::kCorrupt, "the archive ends too early"};
        if (extends) {
            if (size > kMaxExtendedHeader) {
                return Error{ErrorCode::kLimit, "an extended tar header larger than 1 MiB"};
            }
            std::string text(size, '\0');
            TRY(read_exact(fd, std::as_writable_bytes(std::span(text)), at));
            if (type == 'x') {
                TRY(apply_pax(text, next));
            } else if (type == 'L') {
                next.name = text.substr(0, text.find('\0'));
            } else if (type == 'K') {
                next.link = text.substr(0, text.find('\0'));
            }
        } else {
            std::string name = next.name;
            if (name.empty()) {
                const std::string_view prefix = std::memcmp(header.data() + 257, "ustar", 6) == 0
                                                    ? field(header, 345, 155)
                                                    : std::string_view();
                name = normalize(prefix, field(header, 0, 100));
            } else {
                name = normalize("", name);
            }
            if (type == '0' || type == '\0') {
                index.files_.insert_or_assign(name, Member{at, size});
            } else if (type == '1' || type == '2') {
                const std::string target =
                    next.link.empty() ? std::string(field(header, 157, 100)) : next.link;
                const std::string folder =
                    type == '2' ? name.substr(0, name.rfind('/') + 1) : std::string();
                index.links_.insert_or_assign(name, normalize(folder, target));
            }
            next = {};
        }
        at += std::min(end - at, (size + kBlock - 1) / kBlock * kBlock);
    }
    if (count == 0) return Error{ErrorCode::kInvalid, "not a tar archive, or an empty one"};
    return index;
}

bool ArchiveIndex::contains(std::string_view name) const {
    return find(name).has_value();
}

Result<ArchiveIndex::Member> ArchiveIndex::find(std::string_view name) const {
    constexpr int kMaxLinks = 16;
    std::string wanted = normalize("", name);
    for (int i = 0; i < kMaxLinks; ++i) {
        const auto file = files_.find(wanted);
        if (file != files_.end()) return file->second;
        const auto link = links_.find(wanted);
        if (link == links_.end()) break;
        wanted = link->second;
    }
    return Error{ErrorCode::kNotFound,
                 fmt::format("the archive has no member '{}'", name.substr(0, 200))};
}

}  // namespace drupe::imagefs::oci
