#pragma once

#include <map>
#include <string>
#include <vector>

#include "imagefs/store/database.h"

namespace drupe::daemon {

/// A named folder below $DRUPE_ROOT. No container mounts one yet.
struct Volume {
    std::string name;
    std::string mountpoint;
    std::map<std::string, std::string> labels;
    uint64_t created_at_ns = 0;
    bool anonymous = false;  ///< Its name was generated.
    bool is_new = false;     ///< Volumes::create() has just made it.
};

/// The volumes: a row in drupe.db, and volumes/NAME/_data below root. One thread, as its database.
class Volumes {
  public:
    static constexpr size_t kMax = 4096;

    [[nodiscard]] static Result<Volumes> open(imagefs::Database& db, const std::string& root);

    [[nodiscard]] Result<std::vector<Volume>> list();
    /// kNotFound: "get NAME: no such volume".
    [[nodiscard]] Result<Volume> find(const std::string& name);
    /// The one of this name if there is one; an empty name: one is made up.
    [[nodiscard]] Result<Volume> create(const std::string& name,
                                        const std::map<std::string, std::string>& labels);
    [[nodiscard]] Status remove(const std::string& name);
    /// What its files occupy.
    [[nodiscard]] Result<uint64_t> bytes(const Volume& volume) const;

  private:
    Volumes(imagefs::Database& db, std::string root) : db_(db), root_(std::move(root)) {}
    [[nodiscard]] std::string folder(const std::string& name) const {
        return root_ + "/volumes/" + name;
    }
    imagefs::Database& db_;
    std::string root_;
};

}  // namespace drupe::daemon
