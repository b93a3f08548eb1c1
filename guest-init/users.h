#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drupe::init {

struct Credentials {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  ///< Supplementary; gid is among them.
    std::string home = "/";
};

/// Who `user` ("", "name", "uid", "name:group", "uid:gid") is, as container engines read it: a name
/// must exist, a number needn't; without a group it is the user's own and all that list the user.
/// passwd and group are the texts of /etc/passwd and /etc/group. Errors: kInvalid.
[[nodiscard]] Result<Credentials> find_user(std::string_view user,
                                            const std::vector<std::string>& more_groups,
                                            std::string_view passwd, std::string_view group);

/// The name of the first entry of /etc/passwd's text with this number; empty: none has it.
[[nodiscard]] std::string user_name(uid_t uid, std::string_view passwd);

}  // namespace drupe::init
