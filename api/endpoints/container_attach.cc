// POST /containers/{id}/attach, POST /containers/{id}/resize

#include "api/daemon/container_event.h"
#include "api/daemon/stream_pump.h"
#include "api/endpoints/containers.h"
#include "api/endpoints/log_stream.h"
#include "api/engine/detach_keys.h"

namespace drupe::endpoints {
namespace {

using daemon::StreamPump;
using engine::Container;
using engine::State;

constexpr std::string_view kDefaultKeys = "ctrl-p,ctrl-q";

/// Docker's keys count for a terminal alone.
Result<std::string> keys_of(const Call& call, bool tty) {
    const std::string text = call.text("detachKeys");
    TRY_ASSIGN(std::string keys, engine::parse_detach_keys(text.empty() ? kDefaultKeys : text));
    return tty ? keys : std::string();
}

}  // namespace

std::string stream_type(bool framed) {
    return framed ? "application/vnd.docker.multiplexed-stream"
                  : "application/vnd.docker.raw-stream";
}

Status attach_container(const Call& call) {
    Container container;
    std::unique_ptr<daemon::PendingStreams::Ticket> ticket;
    std::optional<engine::Machine> machine;
    const bool stream = call.flag("stream");
    const bool with_stdout = call.flag("stdout");
    const bool with_stderr = call.flag("stderr");
    const bool with_logs = call.flag("logs");
    std::optional<daemon::StreamPipes> pipes;
    {
        TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
        TRY_ASSIGN(container, engine->find(call.id()));
        if (container.state == State::kPaused) {
            return Error{
                ErrorCode::kConflict,
                "Container " + call.id() + " is paused. Unpause the container before attach."};
        }
        const bool tty = container.config.tty;
        TRY_ASSIGN(const std::string keys, keys_of(call, tty));
        if (stream) {
            const bool with_stdin = call.flag("stdin") && container.config.open_stdin;
            TRY_ASSIGN(pipes,
                       daemon::make_stream_pipes(with_stdin, with_stdout || (tty && with_stderr),
                                                 with_stderr && !tty));
            pipes->pump.framed = !tty;
            pipes->pump.detach_keys = keys;
            if (container.state == State::kRunning) {
                TRY_ASSIGN(machine, engine->attach(container.id, std::move(pipes->theirs)));
            } else {
                ticket = call.daemon.pending_streams.add(container.id, std::move(pipes->theirs));
            }
        }
    }
    call.daemon.events.publish(daemon::container_event(container, "attach"));
    TRY_ASSIGN(auto hijacked, call.http.hijack(stream_type(!container.config.tty)));
    if (with_logs) {
        TRY(send_log(call, container, hijacked.fd, with_stdout, with_stderr));
    }
    if (!pipes) return ok();
    pipes->pump.client = hijacked.fd;
    pipes->pump.early = std::move(hijacked.early);
    const auto end = pipes->pump.run();
    if (end == StreamPump::End::kDetached) {
        call.daemon.events.publish(daemon::container_event(container, "detach"));
    }
    return ok();
}

Status resize_container(const Call& call) {
    TRY_ASSIGN(const auto rows, call.number("h"));
    TRY_ASSIGN(const auto columns, call.number("w"));
    if (!rows || !columns || *rows < 0 || *columns < 0 || *rows > UINT16_MAX ||
        *columns > UINT16_MAX) {
        return Error{ErrorCode::kInvalid, "h and w have to be numbers from 0 to 65535"};
    }
    TRY_ASSIGN(auto engine, call.daemon.engines.borrow());
    TRY(engine->resize(call.id(), protocol::kWorkloadSession, static_cast<uint16_t>(*rows),
                       static_cast<uint16_t>(*columns)));
    return call.answer(200);
}

}  // namespace drupe::endpoints
