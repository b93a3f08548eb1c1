#include "monitor/tenant.h"

#include <utility>

namespace drupe {

Tenant::Tenant(EventLoop& loop, const MonitorConfig& config, ContainerHost& host,
               Timeline& timeline, std::function<void(ExitRecord)> on_ended)
    : loop_(loop),
      config_(config),
      host_(host),
      timeline_(timeline),
      on_ended_(std::move(on_ended)) {}

Status Tenant::move_in() {
    container_ = std::make_unique<Container>(loop_, config_, host_, timeline_, on_ended_);
    TRY_ASSIGN(server_, ControlServer::create(
                            loop_, Fd(config_.control_fd),
                            [this](control::Request request, const ControlServer::Answer& answer) {
                                container_->handle(std::move(request), answer);
                            }));
    return agent_.valid() ? container_->attach_agent(std::move(agent_)) : ok();
}

Status Tenant::attach_agent(Fd control) {
    if (container_ != nullptr) return container_->attach_agent(std::move(control));
    agent_ = std::move(control);
    return ok();
}

bool Tenant::machine_stopped(const std::string& reason, const std::string& detail) {
    if (container_ == nullptr) return false;
    container_->machine_stopped(reason, detail);
    return true;
}

}  // namespace drupe
