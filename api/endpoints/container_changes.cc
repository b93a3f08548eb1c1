// GET /containers/{id}/changes, GET /containers/{id}/export

#include "api/endpoints/containers.h"

namespace drupe::endpoints {
namespace {

using engine::Container;
using engine::State;

constexpr size_t kChunk = 256 << 10;
constexpr size_t kMaxChanges = 1'000'000;  // of an answer that is kept in memory

int kind_of(char letter) {
    return letter == 'C' ? 0 : letter == 'A' ? 1 : 2;
}

/// Docker mounts these over the image's: they are no changes of the container's, nor is their
/// folder if nothing else in it has changed.
bool is_ours(std::string_view path) {
    return path == "/etc/hostname" || path == "/etc/hosts" || path == "/etc/resolv.conf" ||
           path == "/etc/machine-id";
}

class Changes {
  public:
    Status add(char kind, std::string_view path) {
        if (is_ours(path)) return ok();
        if (path == "/etc" && kind == 'C') {
            etc_ = true;
            return ok();
        }
        if (list_.size() >= kMaxChanges) {
            return Error{ErrorCode::kLimit, "too many changes to list"};
        }
        if (etc_ && path.starts_with("/etc/")) {
            etc_ = false;
            list_.push_back({{"Path", "/etc"}, {"Kind", kind_of('C')}});
        }
        list_.push_back({{"Path", path}, {"Kind", kind_of(kind)}});
        return ok();
    }
    /// null: there are none.
    [[nodiscard]] const Json& json() const { return list_; }

  private:
    Json list_;
    bool etc_ = false;  // it has changed, and nothing in it that counts so far
};

/// The files of a running container are those of this moment.
Result<std::optional<engine::SealedDisk>> seal(const Call& call, engine::Engine& engine,
                                               const Container& container) {
    if (container.state != State::kRunning || container.config.read_only) {
        return std::optional<engine::SealedDisk>();
    }
    TRY_ASSIGN(engine::SealedDisk sealed, engine.seal(container.id));
    call.daemon.maintenance.ask();
    return std::optional(std::move(sealed));
}

}  // namespace

Status container_changes(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    TRY_ASSIGN(const auto at, seal(call, engine.engine(), container));
    Changes changes;
    TRY(engine.images().diff(container, at ? &*at : nullptr, [&](char kind, std::string_view path) {
        return changes.add(kind, path);
    }));
    return call.answer(200, changes.json());
}

Status export_container(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    TRY_ASSIGN(const auto at, seal(call, engine.engine(), container));
    TRY_ASSIGN(const auto tar, engine.images().export_files(container, at ? &*at : nullptr));
    std::vector<std::byte> buffer(kChunk);
    bool begun = false;
    for (;;) {
        const auto got = tar->read(buffer);
        if (!got && begun) call.http.abandon();
        if (!got) return got.error();
        if (!begun) {
            TRY(call.http.begin(200, "application/octet-stream"));
        }
        begun = true;
        if (got.value() == 0) return ok();
        TRY(call.http.write({reinterpret_cast<const char*>(buffer.data()), got.value()}));
    }
}

}  // namespace drupe::endpoints
