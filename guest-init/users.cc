#include "guest-init/users.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>

namespace drupe::init {
namespace {

constexpr size_t kMaxGroups = 65536;  // NGROUPS_MAX

std::optional<uint32_t> number(std::string_view text) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // The last id means "leave it" to the kernel.
    if (error != std::errc() || end != text.data() + text.size() || value == UINT32_MAX)
        return std::nullopt;
    return value;
}

std::string_view take_until(std::string_view& text, char end) {
    const size_t at = text.find(end);
    const std::string_view part = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
    return part;
}

/// One line of passwd or group; missing fields are empty.
using Fields = std::array<std::string_view, 7>;

template <class Match>
std::optional<Fields> find_line(std::string_view text, const Match& match) {
    while (!text.empty()) {
        std::string_view line = take_until(text, '\n');
        Fields fields;
        for (std::string_view& field : fields) field = take_until(line, ':');
        if (!fields[0].empty() && match(fields)) return fields;
    }
    return std::nullopt;
}

/// By name, else by number (a name may consist of digits).
std::optional<Fields> find_entry(std::string_view text, std::string_view wanted) {
    if (auto line = find_line(text, [&](const Fields& f) { return f[0] == wanted; })) return line;
    const auto id = number(wanted);
    if (!id) return std::nullopt;
    return find_line(text, [&](const Fields& f) { return number(f[2]) == id; });
}

Result<gid_t> find_group(std::string_view wanted, std::string_view group) {
    const auto entry = find_entry(group, wanted);
    const auto id = number(entry ? (*entry)[2] : wanted);
    if (!id)
        return Error{
            ErrorCode::kInvalid,
            "unable to find group " + std::string(wanted) + ": no matching entries in group file",
            EINVAL};
    return *id;
}

void add_listed_groups(Credentials& who, std::string_view name, std::string_view group) {
    (void)find_line(group, [&](const Fields& fields) {
        std::string_view members = fields[3];
        while (!members.empty()) {
            if (take_until(members, ',') != name) continue;
            if (const auto id = number(fields[2])) who.groups.push_back(*id);
            break;
        }
        return who.groups.size() >= kMaxGroups;
    });
}

}  // namespace

Result<Credentials> find_user(std::string_view user, const std::vector<std::string>& more_groups,
                              std::string_view passwd, std::string_view group) {
    std::string_view group_part = user;
    std::string_view name = take_until(group_part, ':');
    if (name.empty()) name = "0";
    Credentials who;
    const auto entry = find_entry(passwd, name);
    const auto uid = number(entry ? (*entry)[2] : name);
    if (!uid)
        return Error{
            ErrorCode::kInvalid,
            "unable to find user " + std::string(name) + ": no matching entries in passwd file",
            EINVAL};
    who.uid = *uid;
    if (entry) {
        who.gid = number((*entry)[3]).value_or(0);
        if (!(*entry)[5].empty()) who.home = (*entry)[5];
    }
    if (!group_part.empty()) {
        TRY_ASSIGN(who.gid, find_group(group_part, group));
    } else if (entry) {
        add_listed_groups(who, (*entry)[0], group);
    }
    for (const std::string& more : more_groups) {
        TRY_ASSIGN(const gid_t id, find_group(more, group));
        who.groups.push_back(id);
    }
    // Files that deny a group deny it to its members by any way: CVE-2022-36109.
    who.groups.push_back(who.gid);
    std::sort(who.groups.begin(), who.groups.end());
    who.groups.erase(std::unique(who.groups.begin(), who.groups.end()), who.groups.end());
    return who;
}

std::string user_name(uid_t uid, std::string_view passwd) {
    const auto line = find_line(passwd, [&](const Fields& f) { return number(f[2]) == uid; });
    return line ? std::string((*line)[0].substr(0, 256)) : std::string();
}

}  // namespace drupe::init
