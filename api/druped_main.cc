// druped: options, sockets, signals; the API itself is api/endpoints.

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "api/daemon/daemon.h"
#include "api/endpoints/routes.h"
#include "api/server/listen.h"
#include "api/server/router.h"
#include "api/server/server.h"
#include "api/server/tls_gate.h"
#include "base/log.h"

namespace drupe {
namespace {

struct Options {
    std::vector<std::string> hosts;
    std::string group = "drupe";
    std::string data_root;
    std::string pid_file;
    http::TlsFiles tls;
    size_t standbys = 2;
    bool tls_verify = false;  ///< As Docker's; there is no TCP without it.
};

int fail(const Error& error) {
    log(LogLevel::kError, "{}", error.message);
    return 1;
}

/// One daemon for each $DRUPE_ROOT: held until this process ends.
Result<Fd> take_root(const std::string& root) {
    TRY(engine::make_folders(root, 0711));
    TRY_ASSIGN(Fd lock, open_file(root + "/druped.lock", O_RDWR | O_CREAT, 0600));
    // A child that a killed one was about to turn into a monitor has it for another moment.
    constexpr int kTries = 200;
    constexpr useconds_t kAgainUs = 10'000;
    for (int i = 0; i < kTries; ++i) {
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
        ::usleep(kAgainUs);
    }
    return Error{ErrorCode::kConflict, "another druped serves " + root};
}

/// tcp://HOST:PORT, where clients have to show a certificate.
Status listen_on_tcp(http::TlsGate* gate, const std::string& host) {
    const std::string place = host.substr(6);
    const size_t colon = place.rfind(':');
    if (colon == std::string::npos) {
        return Error{ErrorCode::kInvalid, "-H " + host + ": write tcp://HOST:PORT"};
    }
    if (gate == nullptr) {
        return Error{ErrorCode::kInvalid,
                     "-H " + host +
                         ": whoever can reach it would be root on this host, so clients "
                         "have to show a certificate: give --tlscacert, --tlscert and --tlskey"};
    }
    std::string name = place.substr(0, colon);
    if (name.size() > 2 && name.front() == '[') name = name.substr(1, name.size() - 2);
    TRY_ASSIGN(Fd socket, http::listen_tcp(name, place.substr(colon + 1)));
    return gate->listen(std::move(socket));
}

Result<std::unique_ptr<http::TlsGate>> make_gate(http::Server& server, const Options& options) {
    const http::TlsFiles& tls = options.tls;
    if (tls.ca.empty() && tls.certificate.empty() && tls.key.empty()) {
        return std::unique_ptr<http::TlsGate>();
    }
    if (tls.ca.empty() || tls.certificate.empty() || tls.key.empty()) {
        return Error{ErrorCode::kInvalid, "--tlscacert, --tlscert and --tlskey belong together"};
    }
    return http::TlsGate::make(tls, [&server](Fd plain) { server.serve(std::move(plain)); });
}

Status listen_on(http::Server& server, http::TlsGate* gate, const std::string& host,
                 const Options& options) {
    if (host.starts_with("unix://")) {
        const std::string path = host.substr(7);
        const size_t slash = path.rfind('/');
        if (slash != std::string::npos && slash > 0) {
            TRY(engine::make_folders(path.substr(0, slash), 0755));
        }
        TRY_ASSIGN(Fd socket, http::listen_unix(path, options.group));
        return server.listen(std::move(socket));
    }
    if (host.starts_with("fd://")) {
        TRY_ASSIGN(auto sockets, http::inherited_sockets());
        if (sockets.empty()) {
            return Error{ErrorCode::kInvalid, "-H fd://: systemd has passed no socket"};
        }
        for (Fd& socket : sockets) {
            TRY(server.listen(std::move(socket)));
        }
        return ok();
    }
    if (host.starts_with("tcp://")) return listen_on_tcp(gate, host);
    return Error{ErrorCode::kInvalid, "-H " + host +
                                          ": write unix://PATH, tcp://HOST:PORT, or "
                                          "fd:// for systemd's sockets"};
}

Status write_pid_file(const std::string& path) {
    if (path.empty()) return ok();
    TRY_ASSIGN(const Fd file, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    const std::string text = std::to_string(::getpid()) + "\n";
    return write_all(file.get(), std::as_bytes(std::span(text)));
}

/// Many containers are many descriptors.
void raise_limits() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return;
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
}

int serve(const Options& options) {
    if (!options.data_root.empty()) ::setenv("DRUPE_ROOT", options.data_root.c_str(), 1);
    auto paths = engine::find_paths();
    if (!paths) return fail(paths.error());
    const auto lock = take_root(paths.value().root);
    if (!lock) return fail(lock.error());

    // Handled by one thread; everybody else's are blocked, those of later threads too.
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // NOLINT: as documented for sockets

    const std::string own_socket = "unix://" + paths.value().run + "/drupe.sock";
    daemon::Daemon daemon(std::move(paths).value(), options.standbys);
    http::Router router;
    endpoints::add_routes(router, daemon);
    http::Server::Options server_options;
    server_options.headers = {{"Api-Version", std::string(http::kApiVersion)},
                              {"Docker-Experimental", daemon.experimental ? "true" : "false"},
                              {"Ostype", "linux"},
                              {"Server", "Drupe/" DRUPE_VERSION " (linux)"}};
    auto server = http::Server::make(std::move(server_options),
                                     [&](http::Exchange& exchange) { router.handle(exchange); });
    if (!server) return fail(server.error());
    const auto gate = make_gate(*server.value(), options);
    if (!gate) return fail(gate.error());
    for (const std::string& host :
         options.hosts.empty() ? std::vector{own_socket} : options.hosts) {
        if (auto listens = listen_on(*server.value(), gate.value().get(), host, options);
            !listens) {
            return fail(listens.error());
        }
    }
    daemon.supervisor.adopt();
    if (auto written = write_pid_file(options.pid_file); !written) return fail(written.error());
    std::thread([&signals, &server] {
        int number = 0;
        ::sigwait(&signals, &number);
        log(LogLevel::kInfo, "ends on signal {}; containers go on", number);
        server.value()->stop();
    }).detach();
    http::notify_ready();
    log(LogLevel::kInfo, "serves {}",
        options.hosts.empty() ? own_socket : fmt::format("{}", fmt::join(options.hosts, ", ")));
    server.value()->run();
    if (!options.pid_file.empty()) ::unlink(options.pid_file.c_str());
    // Requests that still wait (attach, wait, events) have no more to say: containers and their
    // monitors go on, and the next daemon adopts them.
    std::quick_exit(0);
}

}  // namespace
}  // namespace drupe

int main(int argc, char** argv) {
    drupe::set_log_program("druped");
    // Each of a thousand threads needs little memory, and not a heap of its own. What one statement
    // of SQLite takes for a moment isn't fetched from the kernel each time.
    ::mallopt(M_ARENA_MAX, 2);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 20);
    drupe::raise_limits();
    drupe::Options options;
    CLI::App app("druped: microVMs behind the Docker Engine API", "druped");
    app.set_version_flag("-v,--version", "druped version " DRUPE_VERSION);
    app.add_option(
        "-H,--host", options.hosts,
        "Where to listen: unix://PATH, fd:// for systemd's sockets, tcp://HOST:PORT with TLS; more "
        "than once if wanted (default unix:///run/drupe/drupe.sock)");
    app.add_option("-G,--group", options.group, "Group that may use Unix sockets")
        ->capture_default_str();
    app.add_option("--data-root", options.data_root,
                   "Where images and containers are (default $DRUPE_ROOT, or /var/lib/drupe)");
    app.add_option("-p,--pidfile", options.pid_file, "File for the daemon's process id");
    app.add_option(
           "--standby", options.standbys,
           "Machines of each size started lately (of four at most) that wait for a start; 0: none")
        ->check(CLI::Range(size_t{0}, size_t{16}))
        ->envname("DRUPE_STANDBY")
        ->capture_default_str();
    app.add_option("--tlscacert", options.tls.ca,
                   "PEM file: clients of tcp:// have to be of these");
    app.add_option("--tlscert", options.tls.certificate, "PEM file: this daemon's certificate");
    app.add_option("--tlskey", options.tls.key, "PEM file: its key");
    app.add_flag("--tlsverify,--tls", options.tls_verify, "Always on: there is no TCP without");
    app.footer(
        "Example:\n  druped & docker -H unix:///run/drupe/drupe.sock run --rm busybox uname -r");
    CLI11_PARSE(app, argc, argv);
    return drupe::serve(options);
}
