// From a container to a monitor that runs: every file is opened here.

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "api/engine/clock.h"
#include "api/engine/engine.h"
#include "api/engine/environment.h"
#include "api/engine/guest_options.h"
#include "api/engine/log_reader.h"
#include "api/engine/machine_files.h"
#include "api/engine/machine_size.h"
#include "api/engine/names.h"
#include "api/engine/process.h"
#include "base/log.h"

namespace drupe::engine {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr size_t kEntropyBytes = 64;
constexpr size_t kMachineIdBytes = 16;
/// A container's log without options: two files of this size, in turn; 1 GB of output is there as a
/// whole, whatever its lines' frames add.
constexpr uint64_t kLogFileBytes = 1ull << 30;
constexpr size_t kLogFiles = 2;
/// As Docker's driver "local" has them.
constexpr uint64_t kLocalLogFileBytes = 20ull << 20;
constexpr size_t kLocalLogFiles = 5;

uint64_t log_file_bytes(const LogOptions& log) {
    if (log.max_size_bytes != 0) return log.max_size_bytes;
    return log.driver == "local" ? kLocalLogFileBytes : kLogFileBytes;
}

/// All files that the monitor will ever write: it opens none.
Result<std::vector<Fd>> open_log(const LogOptions& log, const std::string& path) {
    std::vector<Fd> files;
    if (log.driver == "none") return files;
    size_t count = log.max_files;
    if (count == 0) count = log.driver == "local" ? kLocalLogFiles : kLogFiles;
    // Docker's json-file keeps one file unless it is told otherwise.
    if (log.max_files == 0 && log.max_size_bytes != 0 && log.driver != "local") count = 1;
    for (size_t i = 0; i < std::min(count, LogReader::kMaxFiles); ++i) {
        TRY_ASSIGN(Fd file, open_file(log_file_name(path, i), O_RDWR | O_CREAT, kFileMode));
        files.push_back(std::move(file));
    }
    return files;
}

Result<uint64_t> occupied_bytes(const std::vector<Fd>& files) {
    constexpr uint64_t kUnit = 512;  // of st_blocks
    uint64_t bytes = 0;
    for (const Fd& file : files) {
        struct stat status {};
        if (::fstat(file.get(), &status) < 0) return os_error("fstat a layer");
        bytes += static_cast<uint64_t>(status.st_blocks) * kUnit;
    }
    return bytes;
}

}  // namespace

/// Keeps the descriptors open that a configuration names by their numbers.
struct Engine::Plan {
    LaunchSpec spec;
    std::vector<Fd> fds;

    int keep(Fd fd) {
        if (!fd.valid()) return -1;
        fds.push_back(std::move(fd));
        return fds.back().get();
    }
};

Result<imagefs::DiskFiles> Engine::open_disk(const Container& container) {
    if (!container.config.read_only) return images_.open_top(container.id);
    TRY_ASSIGN(const ImageRef image, images_.resolve(container.image_id));
    return images_.open_read_only(image);
}

/// One that has a kernel or a console of its own boots.
bool Engine::may_use_template(const ContainerConfig& config) const {
    return options_.templates && config.boot != "cold" && config.kernel.empty() &&
           config.kernel_args.empty() && !config.console;
}

void Engine::want_template(const MonitorConfig& config) const {
    const auto made = templates_.make({config.memory_bytes, config.vcpus});
    if (!made) log(LogLevel::kWarn, "make a template: {}", made.error().message);
}

/// A kernel, and a template that makes it needless.
Status Engine::plan_boot(const ContainerConfig& c, Plan& plan) const {
    const Paths& paths = options_.paths;
    MonitorConfig& config = plan.spec.config;
    TRY_ASSIGN(Fd kernel, open_part(c.kernel.empty() ? paths.kernel : c.kernel, "guest kernel",
                                    "run kernel/build, or name one with --kernel or "
                                    "$DRUPE_KERNEL"));
    TRY_ASSIGN(Fd initrd,
               open_part(paths.initrd, "initramfs.cpio", "build it, or name it in $DRUPE_INITRD"));
    config.kernel_fd = plan.keep(std::move(kernel));
    config.initrd_fd = plan.keep(std::move(initrd));
    if (!may_use_template(c)) return ok();
    auto files = templates_.find({config.memory_bytes, config.vcpus});
    if (!files) {
        log(LogLevel::kWarn, "no template: {}", files.error().message);
    } else if (files.value()) {
        config.restore.state_fd = plan.keep(std::move(files.value()->state));
        config.restore.memory_fd = plan.keep(std::move(files.value()->memory));
    }
    return ok();
}

Result<Engine::Plan> Engine::plan(const Container& container, StartRequest request,
                                  imagefs::DiskFiles disk, Purpose purpose) const {
    const bool for_files = purpose == Purpose::kFiles;
    const ContainerConfig& c = container.config;
    const Paths& paths = options_.paths;
    Plan plan;
    MonitorConfig& config = plan.spec.config;
    TRY_ASSIGN(const MachineSize size, machine_size(c.memory_bytes, c.nano_cpus));
    config.id = container.id;
    config.memory_bytes = size.ram_bytes;
    config.vcpus = size.vcpus;
    config.timing = c.timing;
    plan.spec.program = paths.monitor;
    plan.spec.uid = container.uid;
    plan.spec.memory_max_bytes = size.monitor_memory_max;
    plan.spec.cpu_percent = size.cpu_percent;
    if (paths.monitor.empty()) {
        return Error{ErrorCode::kIo,
                     "found no drupe-vmm beside this program: build it, or "
                     "name it in $DRUPE_VMM"};
    }

    TRY_ASSIGN(Fd kvm, open_kvm(paths.kvm));
    config.kvm_fd = plan.keep(std::move(kvm));
    config.kernel_args = c.kernel_args;
    if (request.snapshot.state.valid()) {
        config.restore.state_fd = plan.keep(std::move(request.snapshot.state));
        config.restore.memory_fd = plan.keep(std::move(request.snapshot.memory));
        config.working_set_fd = plan.keep(std::move(request.working_set));
        config.restore.verify = request.kept.unverified.has_value();
    } else {
        TRY(plan_boot(c, plan));
    }
    // Which tables a kernel of the user's own reads isn't known: all of them read these.
    if (!c.kernel.empty()) config.hardware = HardwareDescription::kMpTable;

    if (c.storage_bytes != 0) {
        TRY_ASSIGN(const uint64_t image_bytes, occupied_bytes(disk.layers));
        config.storage_bytes = c.storage_bytes;
        config.root_disk.max_top_bytes = max_top_bytes(c.storage_bytes, image_bytes);
    }
    config.root_disk.index_fd = plan.keep(std::move(disk.index));
    for (Fd& layer : disk.layers) {
        config.root_disk.layer_fds.push_back(plan.keep(std::move(layer)));
    }
    config.root_disk.top_data_fd = plan.keep(std::move(disk.top_data));
    config.root_disk.top_meta_fd = plan.keep(std::move(disk.top_meta));
    config.root.read_only = c.read_only;
    config.root.discard_changes = c.auto_remove && !for_files;

    TRY_ASSIGN(Fd alive, take_alive_lock(run_dir(container)));
    config.lock_fd = plan.keep(std::move(alive));
    TRY_ASSIGN(Fd control, make_control_socket(run_dir(container)));
    config.control_fd = plan.keep(std::move(control));
    TRY_ASSIGN(Fd record, open_file(for_files ? paths.files_exit_record(container.id)
                                              : paths.exit_record(container.id),
                                    O_RDWR | O_CREAT | O_TRUNC, kFileMode));
    config.exit_record_fd = plan.keep(std::move(record));
    if (!for_files) {
        TRY_ASSIGN(auto files, open_log(c.log, paths.log_file(container.id)));
        for (Fd& file : files) config.log.fds.push_back(plan.keep(std::move(file)));
        config.log.max_file_bytes = log_file_bytes(c.log);
    }
    TRY_ASSIGN(Fd messages, open_file(for_files ? paths.files_monitor_log(container.id)
                                                : paths.monitor_log(container.id),
                                      O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, kFileMode));
    plan.spec.log_fd = plan.keep(std::move(messages));
    if (c.console && !for_files) {
        if (!request.console.valid()) {
            TRY_ASSIGN(request.console, open_file(paths.console_file(container.id),
                                                  O_WRONLY | O_CREAT | O_TRUNC, kFileMode));
        }
        config.console_fd = plan.keep(std::move(request.console));
    }
    config.stdin_once = for_files || (c.stdin_once && !c.tty);
    config.stdio.stdin_fd = plan.keep(std::move(request.stdio.stdin_fd));
    config.stdio.stdout_fd = plan.keep(std::move(request.stdio.stdout_fd));
    config.stdio.stderr_fd = plan.keep(std::move(request.stdio.stderr_fd));

    config.identity.host_name = host_name_of(container);
    config.identity.domain_name = c.domain_name;
    // As Debian does for a host without an address of its own: its name resolves.
    config.identity.hosts.push_back("127.0.1.1 " + config.identity.host_name);
    TRY_ASSIGN(const auto extra_hosts, extra_host_lines(c));
    config.identity.hosts.insert(config.identity.hosts.end(), extra_hosts.begin(),
                                 extra_hosts.end());
    TRY_ASSIGN(config.identity.resolv_conf, resolv_conf_of(c));
    TRY_ASSIGN(const std::string machine_id, random_bytes(kMachineIdBytes));
    config.identity.machine_id = to_hex(machine_id);
    TRY_ASSIGN(const std::string entropy, random_bytes(kEntropyBytes));
    config.identity.entropy = entropy;
    config.identity.realtime_ns = realtime_ns();

    protocol::Start& workload = config.workload;
    if (for_files) {
        workload.argv = {"hold"};
        workload.builtin = protocol::Builtin::kHold;
        workload.stdin_open = true;
        return plan;
    }
    workload.argv = argv_of(c);
    workload.env = session_environment(container, {}, c.tty);
    workload.cwd = c.working_dir;
    workload.user = c.user;
    workload.tty = c.tty;
    workload.stdin_open = c.open_stdin;
    workload.rows = request.rows;
    workload.columns = request.columns;
    workload.limits = session_limits(c);
    workload.memory_max = size.workload_memory_max;
    TRY(apply_guest_options(c, workload));
    return plan;
}

Result<Machine> Engine::launch(Container container, StartRequest request, imagefs::DiskFiles disk) {
    std::map<std::string, uint64_t> marks{{"image_opened", monotonic_ns()}};
    // Whatever fails from here on leaves the container as it was, to be looked at or tried again.
    const auto fail = [&](Error error) -> Result<Machine> {
        constexpr uint32_t kCannotStart = 125;
        container.step = Step::kNone;
        container.error = error.message;
        container.exit_code = kCannotStart;
        static_cast<void>(table_.update(container));
        return error;
    };

    KeptMemory kept = std::move(request.kept);
    auto planned = plan(container, std::move(request), std::move(disk), Purpose::kWorkload);
    if (!planned) return fail(std::move(planned).error());
    step("planned");
    // Connected before the monitor is there: a workload may end before we would get to it after.
    auto client = connect(container.id);
    if (!client) return fail(std::move(client).error());
    control::Request wait;
    wait.op = control::Op::kWait;
    const auto wait_id = client.value().send(std::move(wait));
    if (!wait_id) return fail(wait_id.error());
    marks["launching"] = monotonic_ns();
    planned.value().spec.config.launched_ns = marks["launching"];
    const auto pid = launcher_.launch(planned.value().spec);
    if (!pid) return fail(pid.error());
    // The monitor's ends of the streams must be the only ones, and so must its alive lock.
    planned.value().fds.clear();
    marks["launched"] = monotonic_ns();
    step("launched");

    container.step = Step::kNone;
    container.state = State::kRunning;
    container.pid = pid.value();
    container.pid_started = process_start_ticks(container.pid);
    container.started_at_ns = realtime_ns();
    container.reason.clear();
    container.error.clear();
    container.exit_code = 0;
    TRY(table_.update(container));
    step("running");
    const MonitorConfig& config = planned.value().spec.config;
    if (may_use_template(container.config) && !config.restore.given()) want_template(config);

    Fd record = open_record(container.id);
    return Machine{std::move(container), std::move(client).value(), wait_id.value(), {},
                   std::move(marks),     std::move(record),         std::move(kept)};
}

Result<Machine> Engine::launch_for_files(Container container, Fd input) {
    TRY_ASSIGN(imagefs::DiskFiles disk, open_disk(container));
    StartRequest request;
    request.stdio.stdin_fd = std::move(input);
    TRY_ASSIGN(Plan planned, plan(container, std::move(request), std::move(disk), Purpose::kFiles));
    TRY_ASSIGN(ControlClient client, connect(container.id));
    control::Request wait;
    wait.op = control::Op::kWait;
    TRY_ASSIGN(const uint64_t wait_id, client.send(std::move(wait)));
    planned.spec.config.launched_ns = monotonic_ns();
    TRY(launcher_.launch(planned.spec));
    step("launched for files");
    return Machine{std::move(container), std::move(client), wait_id, {}, {}, Fd()};
}

Result<Machine> Engine::start(std::string_view query, StartRequest request) {
    TRY_ASSIGN(Container found, find(query));
    TRY_ASSIGN(const auto lock, ContainerLock::take(run_dir(found)));
    TRY_ASSIGN(Container container, table_.by_id(found.id));
    if (container.step == Step::kCopying) {  // its copier died while we waited
        TRY(end_for_files(container));
    }
    const bool restart = request.by_policy && container.state == State::kRestarting;
    const Verdict may = restart ? Verdict::kDo : verdict(container.state, Command::kStart);
    if (may != Verdict::kDo) {
        return Error{
            ErrorCode::kConflict,
            fmt::format("container {} {}", query,
                        may == Verdict::kAlready ? "is running already"
                                                 : refusal(container.state, Command::kStart))};
    }
    imagefs::DiskFiles disk;
    if (request.checkpoint.empty()) {
        TRY_ASSIGN(disk, open_disk(container));
        TRY(open_live(container, disk, request));
    } else {
        TRY_ASSIGN(disk, roll_back(container, request));
    }
    const bool known = std::exchange(container.config.machine_ram_bytes, 0) != 0;
    if (std::exchange(container.config.resized, false) || known) {
        TRY(table_.reconfigure(container));
    }
    container.step = Step::kStarting;
    if (!restart) container.restarts = 0;
    container.stopped_by_user = false;
    TRY(table_.update(container));
    step("starting");
    return launch(std::move(container), std::move(request), std::move(disk));
}

}  // namespace drupe::engine
