#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine/commit_config.h"
#include "api/engine/container.h"
#include "api/engine/container_table.h"
#include "api/engine/image_source.h"
#include "api/engine/launcher.h"
#include "api/engine/lock.h"
#include "api/engine/paths.h"
#include "api/engine/process_table.h"
#include "api/engine/saved_machines.h"
#include "api/engine/templates.h"
#include "api/engine/verified_files.h"
#include "monitor/control_client.h"
#include "monitor/exit_record.h"

namespace drupe::engine {

/// A saved machine (SavedMachines) that a start goes on from.
struct KeptMemory {
    std::string id{};  ///< Empty: none that is kept.
    /// Its memory file, whose checksums are right if the machine goes on from it; unset: they have
    /// been looked at.
    std::optional<imagefs::FileVersion> unverified{};
};

/// What a start is given beside the container.
struct StartRequest {
    control::Stdio stdio;  ///< The monitor's ends of the streams; unset: not attached.
    uint16_t rows = 0;     ///< Of the terminal.
    uint16_t columns = 0;
    bool by_policy = false;  ///< A restart by its policy, of a container that waits for it.
    Fd console;  ///< Where the kernel's log goes if config.console; unset: the container's file.
    /// The machine goes on from this snapshot, which fits the container's disk; unset: it starts.
    control::Snapshot snapshot;
    Fd working_set;   ///< Of the snapshot (MonitorConfig::working_set_fd), if it is known.
    KeptMemory kept;  ///< Where the snapshot is kept, if it is.
    /// Its checkpoint whose memory, and disk, it goes on from; empty: none.
    std::string checkpoint;
};

/// A machine that runs, and the connection to its monitor. A wait request has been sent: its reply
/// comes when the exit record is written.
struct Machine {
    Container container;
    ControlClient client;
    uint64_t wait_id = 0;
    std::optional<control::Reply> ended;  ///< Its reply, if it came while something else was done.
    /// CLOCK_MONOTONIC ns of what start() did: image_opened, launching, launched.
    std::map<std::string, uint64_t> marks;
    /// Its exit record, open: who else sees its end may remove the file. Invalid: there is none.
    Fd exit_record{};
    KeptMemory kept{};  ///< What it went on from.
};

/// How a machine ended.
struct Ended {
    Container container;  ///< As it was left; of an auto-removed one too.
    ExitRecord record;    ///< Reason "monitor-lost" if the monitor left none.
};

/// Of a reply to a wait request that says that it won't be answered: the machine goes on.
[[nodiscard]] Error refused_wait(const control::Reply& reply);
/// A monitor's hanging up, in Docker's words: its container isn't running. Others stay as they are.
[[nodiscard]] Error ended_meanwhile(const Container& container, const Error& error);

struct ExecRequest {
    std::vector<std::string> argv;
    std::vector<std::string> env;  ///< Over the container's.
    std::string working_dir;       ///< Empty: the container's.
    std::string user;              ///< Empty: the container's.
    bool tty = false;
    bool privileged = false;  ///< All capabilities, whatever the container's are.
    uint16_t rows = 0;
    uint16_t columns = 0;
    control::Stdio stdio;
};

/// A program that runs beside the workload.
struct ExecSession {
    Container container;
    ControlClient client;
    uint32_t session = 0;
};

/// An order that needs no more than its name.
[[nodiscard]] control::Request request_of(control::Op op);
/// The order that gives a machine these files as its root disk.
[[nodiscard]] control::Request replace_disk_with(imagefs::DiskFiles files);

struct CommitRequest {
    std::string reference;  ///< The image's name, or empty.
    CommitWords words;
    /// Freeze a running one's file system meanwhile. Without, its workload isn't held up, and the
    /// image is what a loss of power would have left.
    bool pause = true;
    /// With its memory, of a running one: containers of the image go on from there.
    bool live = false;
};
struct Committed {
    std::string image_id;
    /// The guest's file system was frozen, or nothing ran. Otherwise the image is what a loss of
    /// power would have left, with the journal replayed.
    bool consistent = false;
    /// CLOCK_MONOTONIC ns: begun, released (the guest's data is written out), sealed, replaced (it
    /// goes on), recorded.
    std::map<std::string, uint64_t> marks;
};

struct ForkRequest {
    uint32_t count = 1;  ///< 1 to kMaxClones.
    std::string name;    ///< Of the clone; of several, what their names begin with. Empty: made up.
};
inline constexpr uint32_t kMaxClones = 1000;

/// Running copies of a container.
struct Forked {
    std::vector<Machine> clones;
    /// Why there are fewer than were asked for.
    std::optional<Error> failure;
    /// CLOCK_MONOTONIC ns: begun, stopped (about to be), saved, sealed, going_on (the parent does),
    /// done.
    std::map<std::string, uint64_t> marks;
};

struct CheckpointRequest {
    std::string name;   ///< As a container's.
    bool stop = false;  ///< The container is killed when it is there.
};
struct Checkpoint {
    std::string name;
    uint64_t created_at_ns = 0;  ///< CLOCK_REALTIME
    uint64_t stored_bytes = 0;   ///< Of its memory, on the host's disk.
};

/// What update() changes; what is unset stays.
struct ContainerChanges {
    std::optional<uint64_t> memory_bytes;  ///< 0: none.
    std::optional<uint64_t> nano_cpus;
    std::optional<uint64_t> pids_limit;
    std::optional<RestartPolicy> restart;
};

/// What a container uses. All but the first two are of one that has a machine.
struct Stats {
    Container container;
    uint64_t read_at_ns = 0;  ///< CLOCK_REALTIME
    uint32_t vcpus = 0;
    uint64_t memory_limit_bytes = 0;  ///< The workload's, or its machine's RAM.
    /// Of its monitor, shared with every machine that goes on from the same memory.
    uint64_t shared_bytes = 0;
    std::optional<HostUsage> host;         ///< Unset: the host doesn't count, or it has just ended.
    std::optional<protocol::Usage> guest;  ///< Hostile. Unset: paused, or without an answer.
};
inline constexpr size_t kMaxUsageBytes = 1024;

class ContainerFiles;  // container_files.h

/// The containers of one $DRUPE_ROOT: what the CLI, the daemon and tests drive. A library without
/// threads; any number of processes may use the same root at once. What a killed one leaves behind
/// is found by the next (settle() and sweep()).
///
/// Truth is in three places. The row in drupe.db says what the container is; the flock that its
/// monitor holds says whether that is still so (lock.h); the exit record says how it ended.
/// Creating: lock, folder, row (step kCreating), top. Starting: row (step kStarting), monitor, row
/// (running). Ending: exit record, row (exited). Removing: row away,
/// then files. So a folder without a row is garbage, and a row with a step belongs to a command
/// that holds the lock or has died.
///
/// Used by one thread.
class Engine {
  public:
    struct Options {
        Paths paths;
        /// Machines go on from templates unless their container says otherwise.
        bool templates = false;
        /// Memories that needn't be verified; stays the caller's. Null: each is, each time.
        VerifiedFiles* verified = nullptr;
        /// Called between the steps of create, start and remove: a seam for tests.
        std::function<void(std::string_view step)> at_step;
    };
    /// images and launcher stay the caller's.
    [[nodiscard]] static Result<std::unique_ptr<Engine>> open(Options options, ImageSource& images,
                                                              MonitorLauncher& launcher);

    [[nodiscard]] const Paths& paths() const { return options_.paths; }

    /// kNotFound: no such image. kConflict: the name is taken. An empty name: one is made up.
    [[nodiscard]] Result<Container> create(ContainerConfig asked, std::string name);
    /// Starts a machine; returns when its monitor runs, long before its workload does.
    [[nodiscard]] Result<Machine> start(std::string_view query, StartRequest request);

    /// Waits until the workload runs; false: the machine has ended before that was seen
    /// (conclude() says why).
    [[nodiscard]] Result<bool> await_started(Machine& machine);
    /// Waits for the end, writes it down, and removes the container if it is to be. What is left
    /// of the monitor by then is clean_up()'s.
    [[nodiscard]] Result<Ended> conclude(Machine& machine);
    /// Waits until the monitor's process is gone, gives back its cgroup, and deletes the files of a
    /// container that isn't in the database any more.
    [[nodiscard]] Status clean_up(const std::string& id);

    /// One container, by name, id or prefix, as it is now.
    [[nodiscard]] Result<Container> find(std::string_view query);
    /// All of them as they are now, the newest first.
    [[nodiscard]] Result<std::vector<Container>> list();
    [[nodiscard]] Result<std::vector<Container>> of_image(std::string_view image_id);

    /// The stop signal (0: the container's own), then SIGKILL after the timeout (the same).
    [[nodiscard]] Status stop(std::string_view query, std::optional<uint32_t> timeout_s,
                              uint32_t first_signal = 0);
    /// Sends a signal; SIGKILL waits for the end.
    [[nodiscard]] Status kill(std::string_view query, uint32_t signal);
    /// Its machine stands still until unpause(), a signal or its end. kConflict: it doesn't run, or
    /// is (isn't) paused already.
    [[nodiscard]] Status pause(std::string_view query);
    [[nodiscard]] Status unpause(std::string_view query);
    /// kConflict: the name is taken.
    [[nodiscard]] Status rename(std::string_view query, std::string_view new_name);
    /// Changes limits and restart policy, at once if it runs. kConflict: its machine is too small
    /// for what is asked.
    [[nodiscard]] Result<Container> update(std::string_view query, const ContainerChanges& changes);
    /// The processes in a running one, in the columns that ps's arguments ask for.
    [[nodiscard]] Result<ProcessTable> top(std::string_view query,
                                           std::string_view ps_arguments = "");
    [[nodiscard]] Result<Stats> stats(std::string_view query);
    [[nodiscard]] Status remove(std::string_view query, bool force);

    /// Makes an image of what a container has changed. A running one stands still meanwhile; a
    /// paused one goes on for the moment that its guest takes to write its files out (not without
    /// request.pause).
    [[nodiscard]] Result<Committed> commit(std::string_view query, const CommitRequest& request);

    /// Copies of a running container: their memory and disk are what its were at one moment, and
    /// they run on as machines of their own, with another id, host name and random numbers. It
    /// stands still meanwhile. kConflict: it doesn't run, or has a console.
    [[nodiscard]] Result<Forked> fork(std::string_view query, const ForkRequest& request);

    /// Keeps which pages of a saved machine's memory (Machine::kept) a machine that went on
    /// from it has needed up to now, for the next one; unless that is known.
    [[nodiscard]] Status note_working_set(const Container& container,
                                          const std::string& memory_id) const;

    /// Keeps what fork() makes, under a name: a start of the container can go on from it
    /// (StartRequest::checkpoint), and so can new ones (ContainerConfig::from_checkpoint). It goes
    /// with the container. kConflict: the container doesn't run, or has one of that name.
    [[nodiscard]] Status create_checkpoint(std::string_view query,
                                           const CheckpointRequest& request);
    /// The oldest first.
    [[nodiscard]] Result<std::vector<Checkpoint>> checkpoints(std::string_view query);
    [[nodiscard]] Status remove_checkpoint(std::string_view query, std::string_view name);

    /// What a running container has written so far, as a layer under a new top: its files as they
    /// are now. It stands still for moments. kConflict: it doesn't run.
    [[nodiscard]] Result<SealedDisk> seal(std::string_view query);

    /// Connects to a running machine to see its end.
    [[nodiscard]] Result<Machine> watch(std::string_view query);
    /// Changes what a row says of a container, with its lock held; the machine isn't touched.
    [[nodiscard]] Status amend(std::string_view query,
                               const std::function<void(Container&)>& change);
    /// Connects to a running machine and gives it further streams.
    [[nodiscard]] Result<Machine> attach(std::string_view query, control::Stdio stdio);
    /// The Error of a program that can't be started has its os_errno (ENOENT, EACCES, ...).
    [[nodiscard]] Result<ExecSession> exec(std::string_view query, ExecRequest request);
    /// The size of the workload's terminal, or of an exec's.
    [[nodiscard]] Status resize(std::string_view query, uint32_t session, uint16_t rows,
                                uint16_t columns);

    /// Access to a container's files, whatever its state. One that doesn't run gets its machine
    /// started for that, and stays locked (start, rm and commit wait) until the access ends; its
    /// row and its logs stay as they are.
    [[nodiscard]] Result<std::unique_ptr<ContainerFiles>> open_files(std::string_view query);

    /// Settles every container, and removes what belongs to none: files, cgroups, memory of images
    /// and templates. Returns what list() does, and costs more: list() is for every request.
    [[nodiscard]] Result<std::vector<Container>> sweep();

  private:
    Engine(Options options, ImageSource& images, MonitorLauncher& launcher, ContainerTable table)
        : options_(std::move(options)),
          images_(images),
          launcher_(launcher),
          table_(std::move(table)),
          templates_(options_.paths, launcher) {}

    friend class ContainerFiles;
    struct Plan;  // a monitor's configuration with the descriptors it names
    enum class Purpose : uint8_t { kWorkload, kFiles };

    void step(std::string_view name) const {
        if (options_.at_step) options_.at_step(name);
    }
    [[nodiscard]] std::string run_dir(const Container& c) const {
        return options_.paths.run_dir(c.id);
    }

    // engine.cc, with the container's lock held
    [[nodiscard]] Result<Container> record(ContainerConfig asked, std::string name,
                                           const ImageRef& image,
                                           std::optional<ContainerLock>& lock);
    [[nodiscard]] Status undo_create(const Container& container, Error why);

    // start.cc
    [[nodiscard]] Result<Plan> plan(const Container& container, StartRequest request,
                                    imagefs::DiskFiles disk, Purpose purpose) const;
    [[nodiscard]] Result<Machine> launch(Container container, StartRequest request,
                                         imagefs::DiskFiles disk);
    /// A machine that does nothing but wait for the end of its input. With the lock held.
    [[nodiscard]] Result<Machine> launch_for_files(Container container, Fd input);
    [[nodiscard]] Result<imagefs::DiskFiles> open_disk(const Container& container);
    [[nodiscard]] Status plan_boot(const ContainerConfig& config, Plan& plan) const;
    [[nodiscard]] bool may_use_template(const ContainerConfig& config) const;
    /// Has a template made for machines like this one, which had to boot.
    void want_template(const MonitorConfig& config) const;

    // settle.cc: bringing the rows in line with what is true
    /// A container as it is now, and its lock: what a command that changes it begins with.
    struct Locked {
        Container container;
        ContainerLock lock;
    };
    /// kNotFound: there is none, or it has gone while its lock was waited for.
    [[nodiscard]] Result<Locked> lock_container(std::string_view query);
    /// nullopt: the container is gone (it was half-created, or is removed at its end).
    [[nodiscard]] Result<std::optional<Container>> settle(Container container);
    [[nodiscard]] Result<std::optional<Container>> settle_locked(Container container);
    [[nodiscard]] Result<Ended> end(Container container);  ///< With the lock held.
    [[nodiscard]] Status remove_files(const std::string& id);
    [[nodiscard]] Status sweep_folder(const std::string& id);
    void drop_template(const ContainerConfig& config) const;

    // keep.cc
    /// Keeps a snapshot under an id, with a top that holds its disk.
    [[nodiscard]] Status keep(const Container& container, const SealedDisk& disk,
                              const SavedMachines::New& made, SavedMachine words,
                              const std::string& id);
    /// Whether its image, or its container, is there.
    [[nodiscard]] Result<bool> is_wanted(const std::string& id, const SavedMachine& saved);
    [[nodiscard]] Status sweep_saved();

    // live_image.cc
    /// Has a new container's first start go on from its image's memory, if nothing else is asked
    /// for; the disk that fits.
    [[nodiscard]] Result<ImageRef> take_live(const ImageRef& image, ContainerConfig& asked) const;
    /// Gives its first start that memory. kConflict: one of a snapshot can't go on from it.
    [[nodiscard]] Status open_live(const Container& container, const imagefs::DiskFiles& disk,
                                   StartRequest& request) const;
    /// kConflict: the disk doesn't fit any more, or the memory is gone.
    [[nodiscard]] Status open_fitting(const Container& container, const imagefs::DiskFiles& disk,
                                      StartRequest& request) const;
    [[nodiscard]] Status open_memory(const std::string& id, StartRequest& request) const;
    void note_verified(const KeptMemory& memory) const;

    // checkpoint.cc
    struct Kept {
        std::string id;  ///< Among the saved machines.
        SavedMachine machine;
    };
    [[nodiscard]] std::vector<Kept> kept_of(const Container& container) const;
    [[nodiscard]] Result<Kept> kept(const Container& container, std::string_view name) const;
    /// A machine that stands still as it was saved.
    [[nodiscard]] Status end_saved(Container container);
    /// For a new container that goes on from a checkpoint of another: its configuration, and disk.
    [[nodiscard]] Result<ImageRef> take_checkpoint(ContainerConfig& asked);
    /// kCorrupt if it is damaged; what else is wrong with it is the monitor's to find.
    [[nodiscard]] Status check_whole(const Kept& kept, KeptMemory& memory) const;
    /// Gives a container that doesn't run the disk of its checkpoint, and a request its memory.
    [[nodiscard]] Result<imagefs::DiskFiles> roll_back(Container& container, StartRequest& request);

    // commit.cc
    [[nodiscard]] Result<SealedDisk> seal_running(const Container& container, bool pause,
                                                  Committed& out);
    /// Its new top; after a failure the one that it had.
    [[nodiscard]] Result<imagefs::DiskFiles> disk_after(Result<SealedDisk>& sealed,
                                                        const Container& container);
    /// Gives a running machine its disk back if a command that had taken it died.
    /// False: its monitor doesn't take it, or has ended.
    [[nodiscard]] Result<bool> return_disk(const Container& container);

    // fork.cc
    struct SnapshotOptions {
        /// For who uses its disk without the memory, too: else that is as after a loss of power.
        bool disk_alone = false;
        /// It stays as it was saved, without its disk and with its row's step, for the caller to
        /// end; or, after a failure, to go_on().
        bool stands_still = false;
    };
    [[nodiscard]] Result<SealedDisk> snapshot(const Container& container,
                                              const control::Snapshot& files,
                                              SnapshotOptions options,
                                              std::map<std::string, uint64_t>& marks);
    /// Gives its disk back to a machine of which a snapshot was taken, or was to be.
    [[nodiscard]] Status go_on(const Container& container);
    [[nodiscard]] Result<Machine> start_clone(const Container& parent, const std::string& name,
                                              const ImageRef& disk, const control::Snapshot& files,
                                              const Fd& working_set);
    [[nodiscard]] Fd look_at_first(Machine& copy, const control::Snapshot& files);

    // container_files.cc, with the lock held
    /// Sees such a machine end, whose input has ended, and takes the row's step back.
    [[nodiscard]] Status end_for_files(Container& container);

    // pause.cc
    [[nodiscard]] Status change_pause(std::string_view query, Command command);
    /// False: it is as wanted already.
    [[nodiscard]] Result<bool> order_pause(const std::string& id, bool pause);
    /// A signal has resumed a container that was paused: its row says so.
    [[nodiscard]] Status note_resumed(const Container& container);

    // update.cc, with the container's lock held
    [[nodiscard]] Status change_limits(const Container& now, const ContainerConfig& before);

    // guest_query.cc
    /// What a builtin without arguments writes; at most max_bytes.
    [[nodiscard]] Result<std::string> ask_guest(const Container& container,
                                                protocol::Builtin builtin, size_t max_bytes);

    // settle.cc
    [[nodiscard]] Fd open_record(const std::string& id) const;

    // command.cc
    [[nodiscard]] Result<Container> check(std::string_view query, Command command, Verdict* out);
    [[nodiscard]] Result<ControlClient> connect(const std::string& id) const;
    /// To a machine that runs, or did when its row was read.
    [[nodiscard]] Status order(const Container& container, control::Request request) const;
    [[nodiscard]] Result<Machine> connect_and_wait(Container container);
    /// Signals the workload and waits; false: it still runs after the timeout.
    [[nodiscard]] Result<bool> signal_and_wait(const Container& container, uint32_t signal,
                                               std::chrono::milliseconds timeout);
    /// Of one whose monitor has ended: its row says so when this returns, whoever writes it down.
    [[nodiscard]] Status await_settled(const Container& container);
    /// Ends a machine by all means there are.
    [[nodiscard]] Status force_end(const std::string& id);

    Options options_;
    ImageSource& images_;
    MonitorLauncher& launcher_;
    ContainerTable table_;
    Templates templates_;
};

}  // namespace drupe::engine
