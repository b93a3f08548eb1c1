// drupe login and logout.

#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>

#include "base/fd.h"
#include "base/json_reader.h"
#include "cli/command.h"
#include "cli/daemon.h"
#include "imagefs/oci/reference.h"
#include "imagefs/registry/credentials.h"

namespace drupe::cli {
namespace {

using imagefs::oci::registry_of_address;
using imagefs::registry::CredentialFile;

constexpr size_t kMaxPasswordBytes = 64 << 10;

/// A line typed at the terminal; `hidden` ones aren't shown.
Result<std::string> ask(const char* what, bool hidden) {
    if (::isatty(STDIN_FILENO) == 0) {
        return Error{ErrorCode::kInvalid,
                     "standard input is no terminal to ask for a user and password on: use "
                     "-u USER --password-stdin"};
    }
    std::fprintf(stderr, "%s: ", what);
    termios shown{};
    ::tcgetattr(STDIN_FILENO, &shown);
    termios silent = shown;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (hidden) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    std::string line;
    for (int c = std::getchar(); c != EOF && c != '\n' && line.size() < kMaxPasswordBytes;
         c = std::getchar()) {
        line += static_cast<char>(c);
    }
    if (hidden) {
        ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        std::fputs("\n", stderr);
    }
    if (line.empty()) return Error{ErrorCode::kInvalid, fmt::format("no {} given", what)};
    return line;
}

Result<std::string> read_password() {
    TRY_ASSIGN(std::string text, read_all(STDIN_FILENO, kMaxPasswordBytes));
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
    if (text.empty()) return Error{ErrorCode::kInvalid, "no password on standard input"};
    return text;
}

struct LoginOptions {
    std::string user;
    std::string password;
    bool from_stdin = false;
};

Status complete(LoginOptions& options) {
    if (options.from_stdin) {
        if (options.user.empty() || !options.password.empty()) {
            return Error{ErrorCode::kInvalid, "--password-stdin goes with -u, and without -p"};
        }
        TRY_ASSIGN(options.password, read_password());
        return ok();
    }
    if (options.user.empty()) {
        TRY_ASSIGN(options.user, ask("Username", false));
    }
    if (options.password.empty()) {
        TRY_ASSIGN(options.password, ask("Password", true));
    }
    return ok();
}

/// Checked by the daemon, kept by this user.
Status log_in(const std::string& registry, const LoginOptions& options) {
    const nlohmann::json body{
        {"username", options.user}, {"password", options.password}, {"serveraddress", registry}};
    TRY(order(make_request("POST", "/auth", {}, dump_json(body))));
    return CredentialFile::of_user().store(registry, {options.user, options.password, {}});
}

}  // namespace

int login_command(int argc, char** argv) {
    LoginOptions options;
    std::vector<std::string> servers;
    Args args("login", "[REGISTRY]",
              "Check a user and password with a registry (Docker Hub by default), and remember "
              "them in Docker's config.json.");
    args.value("-u,--username", "NAME", options.user, "User");
    args.value("-p,--password", "PASSWORD", options.password,
               "Password; others on this host may see it: --password-stdin is safer");
    args.flag("--password-stdin", options.from_stdin, "Read the password from standard input");
    args.operands(servers, 0, 1);
    args.example("drupe login -u me --password-stdin registry.example < password-file",
                 "without a terminal");
    if (const auto code = args.parse(argc, argv)) return *code;
    if (auto done = complete(options); !done) return fail(done.error());
    const auto done = log_in(registry_of_address(servers.empty() ? "" : servers.front()), options);
    return done ? print("Login Succeeded\n") : fail(done.error());
}

int logout_command(int argc, char** argv) {
    std::vector<std::string> servers;
    Args args("logout", "[REGISTRY]", "Forget the credentials for a registry.");
    args.operands(servers, 0, 1);
    args.example("drupe logout registry.example", "of one registry");
    if (const auto code = args.parse(argc, argv)) return *code;
    const auto done = CredentialFile::of_user().erase(
        registry_of_address(servers.empty() ? "" : servers.front()));
    if (!done) return fail(done.error());
    return print(fmt::format("Removing login credentials for {}\n",
                             servers.empty() ? "https://index.docker.io/v1/" : servers.front()));
}

}  // namespace drupe::cli
