#include "monitor/standby.h"

#include <unistd.h>

#include <utility>

#include "base/log.h"

namespace drupe {
namespace {

[[noreturn]] void leave(const Status& why) {
    if (!why) log(LogLevel::kWarn, "standby: {}", why.error().message);
    ::_exit(why ? 0 : 1);
}

}  // namespace

Standby::Standby(EventLoop& loop, Fd socket, std::function<Status(Assignment)> take_in)
    : socket_(std::move(socket)), take_in_(std::move(take_in)) {
    watch_ = loop.on_readable(socket_.get(), [this] { on_assignment(); });
}

void Standby::on_assignment() {
    watch_.reset();
    auto assignment = receive_assignment(socket_.get());
    if (!assignment) leave(std::move(assignment).error());
    if (!assignment.value()) leave(ok());
    if (auto taken = take_in_(*std::move(assignment).value()); !taken) leave(taken);
    if (auto told = confirm_assignment(socket_.get()); !told) leave(told);
    socket_.reset();
}

}  // namespace drupe
