// POSIX.1-2001 (pax): a ustar header, before it an extended one for what that can't hold.

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "imagefs/import/tar_stream.h"

namespace drupe::imagefs {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kNameBytes = 100;
constexpr uint64_t kMaxId = 07777777;             // 7 octal digits
constexpr uint64_t kMaxNumber = 077777777777ULL;  // 11
constexpr uint32_t kNanoseconds = 1'000'000'000;

using Header = std::array<char, kBlock>;

char type_flag(ext4::EntryType type) {
    switch (type) {
        case ext4::EntryType::kHardlink:
            return '1';
        case ext4::EntryType::kSymlink:
            return '2';
        case ext4::EntryType::kCharDevice:
            return '3';
        case ext4::EntryType::kBlockDevice:
            return '4';
        case ext4::EntryType::kDirectory:
            return '5';
        case ext4::EntryType::kFifo:
            return '6';
        case ext4::EntryType::kFile:
            break;
    }
    return '0';
}

void put_text(Header& header, size_t at, size_t room, std::string_view text) {
    std::copy_n(text.begin(), std::min(room, text.size()),
                header.begin() + static_cast<ptrdiff_t>(at));
}
/// Octal digits and a zero byte; 0 for what doesn't fit and is in the extended header.
void put_number(Header& header, size_t at, size_t bytes, uint64_t value, uint64_t max) {
    const std::string digits = fmt::format("{:0{}o}", value > max ? 0 : value, bytes - 1);
    put_text(header, at, bytes - 1, digits);
}

struct Fields {
    std::string_view name;
    std::string_view link;
    char type = '0';
    uint32_t mode = 0;
    uint64_t uid = 0;
    uint64_t gid = 0;
    uint64_t size = 0;
    int64_t mtime = 0;
    uint32_t device_major = 0;
    uint32_t device_minor = 0;
};

std::string_view encode(const Fields& fields, Header& header) {
    header.fill('\0');
    put_text(header, 0, kNameBytes, fields.name);
    put_number(header, 100, 8, fields.mode, kMaxId);
    put_number(header, 108, 8, fields.uid, kMaxId);
    put_number(header, 116, 8, fields.gid, kMaxId);
    put_number(header, 124, 12, fields.size, kMaxNumber);
    put_number(header, 136, 12, fields.mtime < 0 ? 0 : static_cast<uint64_t>(fields.mtime),
               kMaxNumber);
    header[156] = fields.type;
    put_text(header, 157, kNameBytes, fields.link);
    put_text(header, 257, 8, std::string_view("ustar\00000", 8));
    put_number(header, 329, 8, fields.device_major, kMaxId);
    put_number(header, 337, 8, fields.device_minor, kMaxId);
    // The sum counts its own field as spaces.
    put_text(header, 148, 8, "        ");
    uint64_t sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    put_text(header, 148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    return {header.data(), header.size()};
}

/// "LENGTH KEY=VALUE\n", where the length counts itself.
void add_record(std::string& records, std::string_view key, std::string_view value) {
    const size_t rest = key.size() + value.size() + 3;
    size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length) {
        length = rest + std::to_string(length).size();
    }
    records.append(std::to_string(length)).append(" ").append(key);
    records.append("=").append(value).append("\n");
}

std::string time_text(int64_t seconds, uint32_t nanoseconds) {
    if (nanoseconds == 0) return std::to_string(seconds);
    // The time before 1970 counts backwards, with its fraction.
    const bool before = seconds < 0;
    const int64_t whole = before ? -(seconds + 1) : seconds;
    const uint32_t part = before ? kNanoseconds - nanoseconds : nanoseconds;
    std::string text = fmt::format("{}{}.{:09}", before ? "-" : "", whole, part);
    text.erase(text.find_last_not_of('0') + 1);
    return text;
}

bool is_plain(std::string_view text) {
    return text.size() <= kNameBytes &&
           std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80; });
}

/// What the ustar header can't hold.
Result<std::string> extended_records(const ext4::Entry& entry) {
    std::string records;
    const bool plain = is_plain(entry.path) && is_plain(entry.target);
    if (!plain) add_record(records, "hdrcharset", "BINARY");  // names are bytes
    if (!is_plain(entry.path)) add_record(records, "path", entry.path);
    if (!is_plain(entry.target)) add_record(records, "linkpath", entry.target);
    if (entry.size > kMaxNumber) add_record(records, "size", std::to_string(entry.size));
    if (entry.uid > kMaxId) add_record(records, "uid", std::to_string(entry.uid));
    if (entry.gid > kMaxId) add_record(records, "gid", std::to_string(entry.gid));
    if (entry.mtime_ns != 0 || entry.mtime < 0 || static_cast<uint64_t>(entry.mtime) > kMaxNumber) {
        add_record(records, "mtime", time_text(entry.mtime, entry.mtime_ns));
    }
    for (const ext4::Xattr& xattr : entry.xattrs) {
        if (xattr.name.find('=') != std::string::npos) {
            return Error{ErrorCode::kUnsupported,
                         fmt::format("/{}: a tar can't hold its extended attribute {}", entry.path,
                                     xattr.name)};
        }
        add_record(records, "SCHILY.xattr." + xattr.name, xattr.value);
    }
    return records;
}

size_t padding_of(uint64_t bytes) {
    return (kBlock - bytes % kBlock) % kBlock;
}

}  // namespace

Status TarWriter::end_content() {
    if (left_ > 0) {
        return Error{ErrorCode::kInternal,
                     fmt::format("a tar: {} bytes of a file are missing", left_)};
    }
    output_.append(std::exchange(padding_, 0), '\0');
    return ok();
}

Status TarWriter::header(const ext4::Entry& entry) {
    TRY(end_content());
    TRY_ASSIGN(const std::string records, extended_records(entry));
    Header header{};
    if (!records.empty()) {
        Fields extended;
        extended.name = "PaxHeader";
        extended.type = 'x';
        extended.mode = 0644;
        extended.size = records.size();
        output_.append(encode(extended, header)).append(records);
        output_.append(padding_of(records.size()), '\0');
    }
    const uint64_t size = entry.type == ext4::EntryType::kFile ? entry.size : 0;
    Fields fields;
    fields.name = entry.path;
    fields.link = entry.target;
    fields.type = type_flag(entry.type);
    fields.mode = entry.mode;
    fields.uid = entry.uid;
    fields.gid = entry.gid;
    fields.size = size;
    fields.mtime = entry.mtime;
    fields.device_major = entry.device_major;
    fields.device_minor = entry.device_minor;
    output_.append(encode(fields, header));
    left_ = size;
    padding_ = padding_of(size);
    return ok();
}

Status TarWriter::content(std::string_view bytes) {
    if (bytes.size() > left_) {
        return Error{ErrorCode::kInternal, "a tar: a file has more bytes than its header says"};
    }
    output_.append(bytes);
    left_ -= bytes.size();
    return ok();
}

Status TarWriter::finish() {
    TRY(end_content());
    output_.append(2 * kBlock, '\0');
    return ok();
}

}  // namespace drupe::imagefs
