#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/container.h"
#include "imagefs/store/database.h"

namespace drupe::engine {

/// Host users of monitors: one for each container, for as long as the container exists. The range
/// must not be used by anything else on the host (docs/security.md). A freed one is taken again
/// only after all others have been.
inline constexpr uint32_t kFirstMonitorUid = 200'000;
inline constexpr uint32_t kMonitorUids = 65'536;

/// The containers in drupe.db. Each change is one transaction; whoever changes a container holds
/// its lock. One thread.
class ContainerTable {
  public:
    /// db stays the caller's and must outlive the table.
    [[nodiscard]] static Result<ContainerTable> open(imagefs::Database& db);

    /// Adds a container and gives it a uid of its own, and a generated name if it has none.
    /// kConflict: the name is taken.
    [[nodiscard]] Status insert(Container& container);
    /// Writes all but id, name, uid and configuration. kNotFound: it is gone.
    [[nodiscard]] Status update(const Container& container);
    /// Writes the configuration alone.
    [[nodiscard]] Status reconfigure(const Container& container);
    /// kConflict: the name is taken, be it by this very container.
    [[nodiscard]] Status rename(const std::string& id, std::string_view name);
    [[nodiscard]] Status remove(std::string_view id);

    /// By full id, by name (with or without a leading slash), or by a prefix of exactly one id, in
    /// this order. kNotFound, or kConflict if the prefix isn't unique.
    [[nodiscard]] Result<Container> find(std::string_view query);
    [[nodiscard]] Result<Container> by_id(std::string_view id);
    /// The newest first.
    [[nodiscard]] Result<std::vector<Container>> all();
    /// Ids of the containers made from an image.
    [[nodiscard]] Result<std::vector<Container>> of_image(std::string_view image_id);

    /// See Database::checkpoint().
    void checkpoint() { db_->checkpoint(); }

  private:
    explicit ContainerTable(imagefs::Database& db) : db_(&db) {}
    [[nodiscard]] Status change(const std::function<Status()>& work);
    [[nodiscard]] Status set_text(std::string_view column, std::string_view value,
                                  std::string_view id);
    [[nodiscard]] Result<uint32_t> take_uid();
    [[nodiscard]] Status take_name(Container& container);
    [[nodiscard]] Result<std::vector<Container>> select(std::string_view where,
                                                        std::string_view value);

    [[nodiscard]] Result<ContainerConfig> config_of(std::string text);

    imagefs::Database* db_;
    // The configuration that was read last: a command reads its container's several times.
    std::string read_text_;
    ContainerConfig read_config_;
};

}  // namespace drupe::engine
