#include "cli/daemon.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "api/engine/paths.h"
#include "base/json_reader.h"
#include "cli/command.h"

namespace drupe::cli {
namespace {

constexpr std::string_view kScheme = "unix://";
constexpr int kPollUs = 10'000;
constexpr int kPolls = 1000;  // 10 s

Result<std::string> druped_program() {
    if (const char* named = ::getenv("DRUPED"); named != nullptr && *named != '\0')
        return std::string(named);
    std::array<char, PATH_MAX> self{};
    const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
    if (size < 0) return os_error("readlink /proc/self/exe");
    std::string folder(self.data(), static_cast<size_t>(size));
    folder.erase(folder.find_last_of('/'));
    return folder + "/druped";
}

Result<pid_t> start_daemon(const engine::Paths& paths, const std::string& socket) {
    TRY(engine::make_folders(paths.root, 0711));
    TRY_ASSIGN(std::string program, druped_program());
    const std::string log = paths.root + "/druped.log";
    const std::string address = std::string(kScheme) + socket;
    const std::string pid_file = paths.run + "/druped.pid";
    const std::array<const char*, 6> argv{program.c_str(),  "-H",   address.c_str(), "-p",
                                          pid_file.c_str(), nullptr};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    // It outlives the folder that we were called in.
    posix_spawn_file_actions_addchdir_np(&files, "/");
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    pid_t pid = 0;
    const int error = ::posix_spawn(&pid, program.c_str(), &files, &attributes,
                                    const_cast<char* const*>(argv.data()), environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) return os_error("start " + program, error);
    return pid;
}

std::string own_socket(const engine::Paths& paths) {
    return paths.run + "/drupe.sock";
}

/// Of $DRUPE_HOST, or of the daemon that serves this $DRUPE_ROOT.
Result<std::string> daemon_socket(const engine::Paths& paths) {
    const char* named = ::getenv("DRUPE_HOST");
    if (named == nullptr || *named == '\0') return own_socket(paths);
    const std::string_view host = named;
    if (host.starts_with(kScheme)) return std::string(host.substr(kScheme.size()));
    return Error{ErrorCode::kInvalid,
                 "the daemon's address '" + std::string(host) + "': write unix://PATH"};
}

bool nobody_listens(const Error& error) {
    return error.os_errno == ENOENT || error.os_errno == ECONNREFUSED;
}

}  // namespace

Result<client::Client> connect_daemon() {
    TRY_ASSIGN(const engine::Paths paths, engine::find_paths());
    TRY_ASSIGN(const std::string path, daemon_socket(paths));
    client::Client client(path);
    auto connected = client.connect();
    if (connected) return client;
    if (!nobody_listens(connected.error())) return connected.error();
    if (path != own_socket(paths)) {
        return Error{ErrorCode::kIo, std::string("Cannot connect to the daemon at ") +
                                         std::string(kScheme) + path + ". Is druped running?"};
    }
    TRY_ASSIGN(const pid_t daemon, start_daemon(paths, path));
    bool ended = false;
    for (int i = 0; i < kPolls && !connected && !ended; ++i) {
        ::usleep(kPollUs);
        ended = ::waitpid(daemon, nullptr, WNOHANG) == daemon;  // another may serve, still
        connected = client.connect();
        if (!connected && !nobody_listens(connected.error())) return connected.error();
    }
    if (connected) return client;
    return Error{ErrorCode::kIo, fmt::format("druped was started for {}, but {}: see {}/druped.log",
                                             path, ended ? "ended" : "doesn't answer", paths.root)};
}

std::string container_path(const std::string& name, const char* what) {
    return "/containers/" + client::escape(name) + what;
}

std::string image_path(const std::string& name, const char* what) {
    return "/images/" + client::escape(name) + what;
}

client::Request make_request(std::string method, std::string path, client::Pairs query,
                             std::string json) {
    client::Request request;
    request.method = std::move(method);
    request.path = std::move(path);
    request.query = std::move(query);
    if (!json.empty()) request.headers = {{"Content-Type", "application/json"}};
    request.body = std::move(json);
    return request;
}

Result<nlohmann::json> ask(client::Client& client, const client::Request& request) {
    TRY_ASSIGN(const auto answer, client.request(request));
    return parse_json(answer.body);
}

Result<nlohmann::json> ask(const client::Request& request) {
    TRY_ASSIGN(auto client, connect_daemon());
    return ask(client, request);
}

Result<nlohmann::json> ask_running(const client::Request& request) {
    TRY_ASSIGN(const engine::Paths paths, engine::find_paths());
    TRY_ASSIGN(const std::string path, daemon_socket(paths));
    client::Client client(path);
    return ask(client, request);
}

Status order(const client::Request& request) {
    TRY_ASSIGN(auto client, connect_daemon());
    TRY(client.request(request));
    return ok();
}

int ask_each(const std::vector<std::string>& names, const std::string& method, const char* what,
             const client::Pairs& query, bool missing_is_fine) {
    auto client = connect_daemon();
    if (!client) return fail(client.error());
    int code = 0;
    for (const std::string& name : names) {
        const auto head =
            client.value().begin(make_request(method, container_path(name, what), query));
        if (head) {
            if (print(name + "\n") != 0) return kFailure;
            continue;
        }
        const bool fine = missing_is_fine && head.error().code == ErrorCode::kNotFound;
        const int failed = fail(head.error());
        if (!fine) code = failed;
    }
    return code;
}

}  // namespace drupe::cli
