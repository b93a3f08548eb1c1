#include "archive/tar_writer.h"

#include <algorithm>
#include <cstring>

#include "archive/tar_header.h"
#include "base/fd.h"

namespace drupe::archive {
namespace {

constexpr size_t kBufferBytes = 64 << 10;
constexpr uint32_t kNsPerSecond = 1'000'000'000;

void put_text(Block& block, Field field, std::string_view text) {
    std::memcpy(block.data() + field.at, text.data(), std::min(text.size(), field.size));
}

/// False if it doesn't fit: the field then holds zero.
bool put_octal(Block& block, Field field, uint64_t value) {
    const size_t digits = field.size - 1;
    const bool fits = digits * 3 >= 64 || value >> (digits * 3) == 0;
    if (!fits) value = 0;
    for (size_t i = digits; i-- > 0; value >>= 3)
        block[field.at + i] = static_cast<char>('0' + (value & 7));
    return fits;
}

/// "LENGTH KEY=VALUE\n", where the length counts itself.
void put_record(std::string& records, std::string_view key, std::string_view value) {
    const size_t rest = key.size() + value.size() + 3;  // space, equals sign, newline
    size_t length = rest + 1;
    while (rest + std::to_string(length).size() != length)
        length = rest + std::to_string(length).size();
    records += std::to_string(length);
    records += ' ';
    records += key;
    records += '=';
    records += value;
    records += '\n';
}

std::string time_text(const Entry& entry) {
    int64_t seconds = entry.mtime_s;
    uint32_t ns = entry.mtime_ns % kNsPerSecond;
    std::string sign;
    if (seconds < 0) {  // -1.25 is 2 s before the epoch and 0.75 s after that
        sign = "-";
        seconds = -(seconds + (ns != 0 ? 1 : 0));
        ns = ns != 0 ? kNsPerSecond - ns : 0;
    }
    std::string text = sign + std::to_string(seconds);
    if (ns == 0) return text;
    std::string fraction = std::to_string(ns);
    fraction.insert(0, 9 - fraction.size(), '0');
    return text + "." + fraction;
}

void seal(Block& block) {
    put_text(block, field::kMagic, kUstarMagic);
    put_octal(block, {field::kChecksum.at, 7}, checksum(block));
    block[field::kChecksum.at + 7] = ' ';
}

/// The header, and in records what it can't say.
Block make_header(const Entry& entry, std::string& records) {
    Block block{};
    std::string name = entry.name;
    if (entry.type == Type::kDirectory && (name.empty() || name.back() != '/')) name += '/';
    put_text(block, field::kName, name);
    if (name.size() > field::kName.size) put_record(records, "path", name);
    put_text(block, field::kLink, entry.link);
    if (entry.link.size() > field::kLink.size) put_record(records, "linkpath", entry.link);
    put_octal(block, field::kMode, entry.mode);
    const auto number = [&](Field field, const char* key, uint64_t value) {
        if (!put_octal(block, field, value)) put_record(records, key, std::to_string(value));
    };
    number(field::kUid, "uid", entry.uid);
    number(field::kGid, "gid", entry.gid);
    number(field::kSize, "size", entry.type == Type::kFile ? entry.size : 0);
    const bool plain = entry.mtime_s >= 0 && entry.mtime_ns == 0 &&
                       put_octal(block, field::kMtime, static_cast<uint64_t>(entry.mtime_s));
    if (!plain) {
        put_octal(block, field::kMtime, static_cast<uint64_t>(std::max<int64_t>(entry.mtime_s, 0)));
        put_record(records, "mtime", time_text(entry));
    }
    put_octal(block, field::kMajor, entry.major);
    put_octal(block, field::kMinor, entry.minor);
    block[field::kType.at] = static_cast<char>(entry.type);
    for (const auto& [key, value] : entry.xattrs)
        put_record(records, std::string(kXattrKey) + key, value);
    seal(block);
    return block;
}

Block make_extended_header(size_t size) {
    Block block{};
    put_text(block, field::kName, "PaxHeaders/entry");
    put_octal(block, field::kMode, 0644);
    put_octal(block, field::kUid, 0);
    put_octal(block, field::kGid, 0);
    put_octal(block, field::kSize, size);
    put_octal(block, field::kMtime, 0);
    block[field::kType.at] = 'x';
    seal(block);
    return block;
}

std::string_view text_of(const Block& block) {
    return {block.data(), block.size()};
}

}  // namespace

Status TarWriter::flush() {
    TRY(write_all(fd_, std::as_bytes(std::span(buffer_))));
    buffer_.clear();
    return ok();
}

Status TarWriter::put(std::string_view bytes) {
    bytes_ += bytes.size();
    if (buffer_.size() + bytes.size() > kBufferBytes) {
        TRY(flush());
    }
    if (bytes.size() > kBufferBytes) return write_all(fd_, std::as_bytes(std::span(bytes)));
    buffer_ += bytes;
    return ok();
}

Status TarWriter::pad() {
    static constexpr Block kZeros{};
    const size_t over = bytes_ % kBlock;
    return over == 0 ? ok() : put(text_of(kZeros).substr(over));
}

Status TarWriter::add(const Entry& entry) {
    std::string records;
    const Block header = make_header(entry, records);
    TRY(pad());
    if (!records.empty()) {
        TRY(put(text_of(make_extended_header(records.size()))));
        TRY(put(records));
        TRY(pad());
    }
    return put(text_of(header));
}

Status TarWriter::write(std::span<const std::byte> content) {
    return put({reinterpret_cast<const char*>(content.data()), content.size()});
}

Status TarWriter::finish() {
    TRY(pad());
    TRY(put(std::string(2 * kBlock, '\0')));
    return flush();
}

}  // namespace drupe::archive
