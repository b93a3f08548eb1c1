#pragma once

#include "api/endpoints/call.h"

namespace drupe::endpoints {

Status list_containers(const Call& call);    // container_list.cc
Status create_container(const Call& call);   // container_create.cc
Status inspect_container(const Call& call);  // container_inspect.cc
Status start_container(const Call& call);    // container_lifecycle.cc
Status stop_container(const Call& call);
Status restart_container(const Call& call);
Status kill_container(const Call& call);
Status remove_container(const Call& call);  // container_remove.cc
Status prune_containers(const Call& call);
Status pause_container(const Call& call);  // container_update.cc
Status unpause_container(const Call& call);
Status rename_container(const Call& call);
Status update_container(const Call& call);
Status wait_container(const Call& call);    // container_wait.cc
Status attach_container(const Call& call);  // container_attach.cc
Status resize_container(const Call& call);
Status container_logs(const Call& call);   // container_logs.cc
Status container_top(const Call& call);    // container_top.cc
Status container_stats(const Call& call);  // container_stats.cc
Status stat_archive(const Call& call);     // container_archive.cc
Status get_archive(const Call& call);
Status put_archive(const Call& call);
Status container_changes(const Call& call);  // container_changes.cc
Status export_container(const Call& call);
Status fork_container(const Call& call);     // container_fork.cc
Status create_checkpoint(const Call& call);  // container_checkpoints.cc
Status list_checkpoints(const Call& call);
Status remove_checkpoint(const Call& call);
/// Of Docker's options: checkpoints are kept with their container, and nowhere else.
[[nodiscard]] Status refuse_checkpoint_folder(const std::string& folder);
Status commit_container(const Call& call);  // commit.cc
Status create_exec(const Call& call);       // exec.cc
Status inspect_exec(const Call& call);
Status resize_exec(const Call& call);
Status start_exec(const Call& call);  // exec_start.cc

}  // namespace drupe::endpoints
