#pragma once

namespace drupe::init {

/// Docker's --init: the calling process, PID 1 of the workload's namespace, forks. Returns in the
/// child, which leads a process group of its own (its terminal's foreground one) and goes on to be
/// the workload. The parent never returns: it hands signals on to the child, reaps whatever dies,
/// and exits with the child's status, or 128 + its signal.
void fork_from_init(bool tty);

}  // namespace drupe::init
