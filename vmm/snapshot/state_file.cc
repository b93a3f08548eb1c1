#include "vmm/snapshot/state_file.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"

namespace drupe {
namespace {

constexpr std::string_view kMagic = "DRUPESNP";
constexpr uint32_t kFormatVersion = 1;
constexpr size_t kHeaderBytes = 24;
constexpr size_t kNameBytes = kMaxSectionName + 1;
constexpr size_t kEntryBytes = kNameBytes + 16;
constexpr size_t kCrcBytes = sizeof(uint32_t);

struct Entry {
    std::string name;
    uint32_t version = 0;
    uint32_t crc = 0;
    uint64_t length = 0;
};

uint32_t crc_of(std::string_view bytes) {
    return crc32c(std::as_bytes(std::span(bytes)));
}

bool is_name(std::string_view name) {
    return !name.empty() && name.size() <= kMaxSectionName &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                      c == '-';
           });
}

Error corrupt(std::string what) {
    return Error{ErrorCode::kCorrupt, "state file: " + std::move(what)};
}

Error corrupt(const Entry& entry, std::string_view what) {
    return corrupt(fmt::format("section {}: {}", entry.name, what));
}

/// The name without its padding; empty if it isn't one.
std::string decode_name(std::string_view field) {
    const std::string_view name = field.substr(0, field.find('\0'));
    const bool padded = field.find_first_not_of('\0', name.size()) == std::string_view::npos;
    return padded && is_name(name) ? std::string(name) : std::string();
}

Result<std::vector<Entry>> decode_entries(std::string_view table, uint32_t count) {
    Decoder in(table);
    std::vector<Entry> entries;
    for (uint32_t i = 0; i < count; ++i) {
        Entry entry;
        entry.name = decode_name(in.get_raw(kNameBytes));
        entry.version = in.get<uint32_t>();
        entry.crc = in.get<uint32_t>();
        entry.length = in.get<uint64_t>();
        if (entry.name.empty()) return corrupt(fmt::format("section {} has no proper name", i));
        if (std::any_of(entries.begin(), entries.end(),
                        [&](const Entry& other) { return other.name == entry.name; })) {
            return corrupt(entry, "it is there twice");
        }
        entries.push_back(std::move(entry));
    }
    return entries;
}

/// The table, checked, from the front of the file.
Result<std::vector<Entry>> decode_header(std::string_view file) {
    if (file.size() < kHeaderBytes)
        return corrupt(fmt::format("header: cut short after {} bytes", file.size()));
    Decoder in(file);
    if (in.get_raw(kMagic.size()) != kMagic) return corrupt("header: no snapshot's magic number");
    const auto version = in.get<uint32_t>();
    const auto flags = in.get<uint32_t>();
    const auto count = in.get<uint32_t>();
    const auto reserved = in.get<uint32_t>();
    if (count > kMaxSections)
        return corrupt(fmt::format("header: {} sections, the limit is {}", count, kMaxSections));
    const size_t summed = kHeaderBytes + count * kEntryBytes;
    if (file.size() < summed + kCrcBytes) {
        return corrupt(fmt::format("header: cut short: {} bytes for the table of {} sections",
                                   file.size(), count));
    }
    if (Decoder(file.substr(summed)).get<uint32_t>() != crc_of(file.substr(0, summed)))
        return corrupt("header: its checksum is wrong");
    if (version != kFormatVersion || flags != 0 || reserved != 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("state file: format version {} with flags {:#x}; this build reads "
                                 "version {} without any",
                                 version, flags, kFormatVersion)};
    }
    return decode_entries(file.substr(kHeaderBytes, summed - kHeaderBytes), count);
}

}  // namespace

std::string encode_state_file(std::span<const StateSection> sections) {
    DRUPE_CHECK(sections.size() <= kMaxSections);
    Encoder out;
    out.put_raw(kMagic);
    out.put(kFormatVersion);
    out.put(uint32_t{0});  // flags
    out.put(static_cast<uint32_t>(sections.size()));
    out.put(uint32_t{0});  // reserved
    for (const StateSection& section : sections) {
        DRUPE_CHECK(is_name(section.name));
        std::string name = section.name;
        name.resize(kNameBytes);
        out.put_raw(name);
        out.put(section.version);
        out.put(crc_of(section.bytes));
        out.put(uint64_t{section.bytes.size()});
    }
    out.put(crc_of(out.bytes()));
    for (const StateSection& section : sections) out.put_raw(section.bytes);
    return out.take();
}

Result<std::vector<StateSection>> decode_state_file(std::string_view file) {
    TRY_ASSIGN(const std::vector<Entry> entries, decode_header(file));
    std::string_view rest = file.substr(kHeaderBytes + entries.size() * kEntryBytes + kCrcBytes);
    std::vector<StateSection> sections;
    for (const Entry& entry : entries) {
        if (entry.length > rest.size()) {
            return corrupt(entry, fmt::format("cut short: {} of {} bytes are there", rest.size(),
                                              entry.length));
        }
        const std::string_view bytes = rest.substr(0, entry.length);
        if (crc_of(bytes) != entry.crc) return corrupt(entry, "its checksum is wrong");
        sections.push_back({entry.name, entry.version, std::string(bytes)});
        rest.remove_prefix(bytes.size());
    }
    if (!rest.empty())
        return corrupt(fmt::format("{} bytes are behind the last section", rest.size()));
    return sections;
}

Result<std::string_view> find_section(std::span<const StateSection> sections, std::string_view name,
                                      uint32_t version) {
    const auto found =
        std::find_if(sections.begin(), sections.end(),
                     [&](const StateSection& section) { return section.name == name; });
    if (found == sections.end()) return corrupt(fmt::format("there is no section {}", name));
    if (found->version != version) {
        return Error{
            ErrorCode::kUnsupported,
            fmt::format("state file: section {}: version {}, this build reads {}: {} Drupe "
                        "has saved it",
                        name, found->version, version,
                        found->version < version ? "an older" : "a newer")};
    }
    return std::string_view(found->bytes);
}

}  // namespace drupe
