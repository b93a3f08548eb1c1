#include "archive/tar_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

namespace drupe::archive {
namespace {

constexpr size_t kBufferBytes = 64 << 10;
constexpr auto kMaxNumber = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
constexpr mode_t kModeBits = 07777;

Error broken(const char* what) {
    return {ErrorCode::kCorrupt, std::string("the archive is damaged: ") + what};
}
Error cut_short() {
    return broken("it ends in the middle");
}

std::string_view field_of(const Block& block, Field field) {
    return {block.data() + field.at, field.size};
}
std::string text_of(const Block& block, Field field) {
    const std::string_view text = field_of(block, field);
    return std::string(text.substr(0, std::min(text.find('\0'), text.size())));
}

/// Octal digits, or GNU's base 256.
std::optional<uint64_t> number_of(const Block& block, Field field) {
    std::string_view text = field_of(block, field);
    uint64_t value = 0;
    if ((static_cast<unsigned char>(text[0]) & 0x80) != 0) {
        for (size_t i = 0; i < text.size(); ++i) {
            const unsigned byte = static_cast<unsigned char>(text[i]) & (i == 0 ? 0x7fU : 0xffU);
            if (value > kMaxNumber >> 8) return std::nullopt;
            value = value << 8 | byte;
        }
        return value;
    }
    while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.remove_suffix(1);
    for (const char digit : text) {
        if (digit < '0' || digit > '7' || value > kMaxNumber >> 3) return std::nullopt;
        value = value << 3 | static_cast<uint64_t>(digit - '0');
    }
    return value;
}

std::optional<uint64_t> decimal(std::string_view text) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value > kMaxNumber)
        return std::nullopt;
    return value;
}

/// "-12.5": seconds, rounded down, and nanoseconds.
bool parse_time(std::string_view text, int64_t& seconds, uint32_t& ns) {
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    const size_t dot = std::min(text.find('.'), text.size());
    const auto whole = decimal(text.substr(0, dot));
    std::string fraction(text.substr(std::min(dot + 1, text.size())));
    if (!whole || *whole >= kMaxNumber) return false;
    fraction.resize(9, '0');
    const auto parts = decimal(fraction);
    if (!parts) return false;
    seconds = static_cast<int64_t>(*whole);
    ns = static_cast<uint32_t>(*parts);
    if (!negative) return true;
    seconds = -seconds - (ns != 0 ? 1 : 0);
    ns = ns != 0 ? 1'000'000'000 - ns : 0;
    return true;
}

bool all_zero(const Block& block) {
    return std::all_of(block.begin(), block.end(), [](char c) { return c == 0; });
}

}  // namespace

struct TarReader::Extended {
    std::optional<std::string> path;
    std::optional<std::string> link;
    std::optional<uint64_t> size;
    std::optional<uint64_t> uid;
    std::optional<uint64_t> gid;
    std::optional<std::pair<int64_t, uint32_t>> mtime;
    std::vector<std::pair<std::string, std::string>> xattrs;

    Status set(std::string_view key, std::string_view value) {
        const auto set_text = [&](std::optional<std::string>& out) -> Status {
            if (value.find('\0') != std::string_view::npos)
                return broken("a name with a zero byte");
            out = value;
            return ok();
        };
        const auto set_number = [&](std::optional<uint64_t>& out) -> Status {
            out = decimal(value);
            return out ? Status(ok()) : broken("a number that is none");
        };
        if (key == "path") return set_text(path);
        if (key == "linkpath") return set_text(link);
        if (key == "size") return set_number(size);
        if (key == "uid") return set_number(uid);
        if (key == "gid") return set_number(gid);
        if (key == "mtime") {
            mtime.emplace();
            return parse_time(value, mtime->first, mtime->second) ? Status(ok())
                                                                  : broken("a time that is none");
        }
        if (key.starts_with("GNU.sparse."))
            return Error{ErrorCode::kUnsupported, "the archive holds a sparse file"};
        if (!key.starts_with(kXattrKey)) return ok();
        key.remove_prefix(kXattrKey.size());
        if (xattrs.size() >= kMaxXattrs || key.empty() || key.find('\0') != std::string_view::npos)
            return broken("too many or nameless extended attributes");
        xattrs.emplace_back(key, value);
        return ok();
    }

    Status parse(std::string_view records) {
        while (!records.empty()) {
            const size_t space = records.find(' ');
            const auto length = decimal(records.substr(0, std::min(space, records.size())));
            if (!length || *length > records.size() || *length <= space + 1)
                return broken("an extended header");
            const std::string_view record = records.substr(space + 1, *length - space - 1);
            const size_t equals = record.find('=');
            if (equals == std::string_view::npos || record.back() != '\n')
                return broken("an extended header");
            TRY(set(record.substr(0, equals),
                    record.substr(equals + 1, record.size() - equals - 2)));
            records.remove_prefix(*length);
        }
        return ok();
    }
};

TarReader::TarReader(int fd) : fd_(fd), buffer_(kBufferBytes) {}

Result<size_t> TarReader::take_some(std::span<std::byte> out) {
    while (begin_ == end_) {
        const ssize_t n = ::read(fd_, buffer_.data(), buffer_.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return os_error("read the archive");
        if (n == 0) return size_t{0};
        begin_ = 0;
        end_ = static_cast<size_t>(n);
    }
    const size_t size = std::min(out.size(), end_ - begin_);
    std::memcpy(out.data(), buffer_.data() + begin_, size);
    begin_ += size;
    bytes_ += size;
    return size;
}

Result<bool> TarReader::take(std::span<std::byte> out) {
    for (size_t done = 0; done < out.size();) {
        TRY_ASSIGN(const size_t got, take_some(out.subspan(done)));
        if (got == 0 && done == 0) return false;
        if (got == 0) return cut_short();
        done += got;
    }
    return true;
}

Result<size_t> TarReader::read(std::span<std::byte> out) {
    if (content_left_ == 0 || out.empty()) return size_t{0};
    out = out.first(std::min<uint64_t>(out.size(), content_left_));
    TRY_ASSIGN(const size_t got, take_some(out));
    if (got == 0) return cut_short();
    content_left_ -= got;
    return got;
}

Status TarReader::skip_content() {
    content_left_ += std::exchange(padding_, 0);
    std::array<std::byte, 4096> ignored{};
    while (content_left_ != 0) {
        TRY(read(ignored));
    }
    return ok();
}

Result<std::string> TarReader::take_text(uint64_t size) {
    extended_bytes_ += size <= kMaxExtendedBytes ? size : kMaxExtendedBytes + 1;
    if (extended_bytes_ > kMaxExtendedBytes) return broken("an extended header is too long");
    std::string text(size, '\0');
    TRY_ASSIGN(const bool got, take(std::as_writable_bytes(std::span(text))));
    if (!got && size != 0) return cut_short();
    content_left_ = (kBlock - size % kBlock) % kBlock;
    TRY(skip_content());
    return text;
}

Status TarReader::take_extended(char type, uint64_t size, Extended& extended) {
    TRY_ASSIGN(std::string text, take_text(size));
    if (type == 'g') return ok();
    if (type == 'x') return extended.parse(text);
    text.resize(std::min(text.find('\0'), text.size()));
    (type == 'L' ? extended.path : extended.link) = std::move(text);
    return ok();
}

Status TarReader::expect_end() {
    std::array<std::byte, 4096> rest{};
    for (size_t total = 0;;) {
        TRY_ASSIGN(const size_t got, take_some(rest));
        if (got == 0) return ok();
        total += got;
        const bool zeros = std::all_of(rest.begin(), rest.begin() + static_cast<ssize_t>(got),
                                       [](std::byte b) { return b == std::byte{0}; });
        if (!zeros || total > kMaxTrailerBytes) return broken("it goes on after its end");
    }
}

Result<std::optional<Entry>> TarReader::next() {
    const bool first = bytes_ == 0;
    TRY(skip_content());
    extended_bytes_ = 0;
    Extended extended;
    for (bool plain = first;; plain = false) {
        Block block;
        TRY_ASSIGN(const bool got, take(std::as_writable_bytes(std::span(block))));
        if (!got && plain) return std::optional<Entry>();  // nothing at all: nothing to unpack
        if (!got) return cut_short();
        if (all_zero(block)) {
            if (extended_bytes_ != 0) return broken("an extended header without an entry");
            TRY(expect_end());
            return std::optional<Entry>();
        }
        const auto sum = number_of(block, field::kChecksum);
        if (!sum || *sum != checksum(block)) return broken("it is no tar, or a header is wrong");
        const auto size = number_of(block, field::kSize);
        if (!size) return broken("a size that is none");
        const char type = block[field::kType.at];
        if (std::strchr("xgLK", type) != nullptr && type != '\0') {
            TRY(take_extended(type, *size, extended));
            extended_bytes_ += kBlock;  // an endless row of empty ones ends, too
            continue;
        }

        Entry entry;
        const bool known = type >= '1' && type <= '6';
        if (!known && type != '0' && type != '7' && type != '\0')
            return Error{ErrorCode::kUnsupported,
                         std::string("the archive holds an entry of unknown type '") + type + "'"};
        entry.type = known ? static_cast<Type>(type) : Type::kFile;
        entry.name = text_of(block, field::kName);
        const bool ustar = field_of(block, field::kMagic) == kUstarMagic;
        if (const std::string prefix = text_of(block, field::kPrefix); ustar && !prefix.empty())
            entry.name = prefix + "/" + entry.name;
        entry.name = std::move(extended.path).value_or(std::move(entry.name));
        entry.link = std::move(extended.link).value_or(text_of(block, field::kLink));
        if (entry.name.size() > kMaxPathBytes || entry.link.size() > kMaxPathBytes)
            return broken("a name is too long");
        const auto mode = number_of(block, field::kMode);
        const auto uid = extended.uid ? extended.uid : number_of(block, field::kUid);
        const auto gid = extended.gid ? extended.gid : number_of(block, field::kGid);
        const auto mtime = extended.mtime ? uint64_t{0} : number_of(block, field::kMtime);
        const bool device = type == '3' || type == '4';
        const auto major = device ? number_of(block, field::kMajor) : uint64_t{0};
        const auto minor = device ? number_of(block, field::kMinor) : uint64_t{0};
        if (!mode || !uid || !gid || !major || !minor || *major > UINT32_MAX || *minor > UINT32_MAX)
            return broken("a number that is none");
        entry.mode = static_cast<mode_t>(*mode) & kModeBits;
        entry.uid = *uid;
        entry.gid = *gid;
        entry.major = static_cast<uint32_t>(*major);
        entry.minor = static_cast<uint32_t>(*minor);
        entry.mtime_s = static_cast<int64_t>(mtime.value_or(0));  // before the epoch: unknown
        if (extended.mtime) std::tie(entry.mtime_s, entry.mtime_ns) = *extended.mtime;
        entry.xattrs = std::move(extended.xattrs);
        const uint64_t content = extended.size.value_or(*size);
        if (content > kMaxNumber - kBlock) return broken("a size that is none");
        // Old archives give links and directories a size that nothing follows.
        if (entry.type == Type::kFile) entry.size = content;
        if (entry.type == Type::kFile && type != '7' && entry.name.ends_with('/')) {
            entry.type = Type::kDirectory;  // as tars from before POSIX have them
            entry.size = 0;
            if (content != 0) return broken("a directory with content");
        }
        content_left_ = entry.size;
        padding_ = (kBlock - entry.size % kBlock) % kBlock;
        return std::optional<Entry>(std::move(entry));
    }
}

}  // namespace drupe::archive
