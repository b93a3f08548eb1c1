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

/// The files of a running container are those of this moment.
Result<std::optional<engine::SealedDisk>> seal(engine::Engine& engine, const Container& container) {
    if (container.state != State::kRunning || container.config.read_only) {
        return std::optional<engine::SealedDisk>();
    }
    TRY_ASSIGN(engine::SealedDisk sealed, engine.seal(container.id));
    return std::optional(std::move(sealed));
}

}  // namespace

Status container_changes(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    TRY_ASSIGN(const auto at, seal(engine.engine(), container));
    Json list;
    TRY(engine.images().diff(container, at ? &*at : nullptr,
                             [&](char kind, std::string_view path) -> Status {
                                 if (list.size() >= kMaxChanges) {
                                     return Error{ErrorCode::kLimit, "too many changes to list"};
                                 }
                                 list.push_back({{"Path", path}, {"Kind", kind_of(kind)}});
                                 return ok();
                             }));
    return call.answer(200, list);
}

Status export_container(const Call& call) {
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY_ASSIGN(const Container container, engine->find(call.id()));
    TRY_ASSIGN(const auto at, seal(engine.engine(), container));
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
