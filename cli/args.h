#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/unsupported.h"

namespace drupe::cli {

/// Exit codes of Drupe's own failures, as Docker's.
inline constexpr int kUsageError = 125;  ///< Unknown option and the like; any failure of run.
inline constexpr int kFailure = 1;       ///< A command that couldn't be carried out.

/// What parse() does of what was declared.
enum class ArgsPurpose : uint8_t {
    kParse,
    kOptions,     ///< Says the options, one a line, and has the command return.
    kManSection,  ///< The same with a part of a manual page,
    kManPage,     ///< and with a whole one.
};
/// From now on, in this process; what is said is appended to `said`.
void set_args_purpose(ArgsPurpose purpose, std::string* said);

/// The arguments of one command: declared, then parsed. A wrapper of CLI11 that keeps its headers
/// out of the commands.
class Args {
  public:
    /// name: "run"; operands: "IMAGE [COMMAND] [ARG...]", for the usage line.
    Args(std::string name, const std::string& operands, std::string summary);
    ~Args();
    Args(const Args&) = delete;
    Args& operator=(const Args&) = delete;

    // names as in "-n,--name"; what: the value's name in the help. Targets outlive this.
    void flag(const std::string& names, bool& target, const std::string& help);
    void value(const std::string& names, const std::string& what, std::string& target,
               const std::string& help);
    void value(const std::string& names, const std::string& what,
               std::optional<std::string>& target, const std::string& help);
    void value(const std::string& names, const std::string& what, std::optional<uint32_t>& target,
               const std::string& help);
    /// An option that may be given several times.
    void values(const std::string& names, const std::string& what, std::vector<std::string>& target,
                const std::string& help);
    /// What is no option. With in_front, options end at the first of them: the rest is a command
    /// of the user's.
    enum class Options : uint8_t { kAnywhere, kInFront };
    void operands(std::vector<std::string>& target, size_t least, size_t most,
                  Options options = Options::kAnywhere);
    /// An option's target: if it is set, there may be fewer operands than the least.
    void instead_of_operands(const std::string& target);
    void example(const std::string& command, const std::string& what);
    /// Options that docker has: they are refused with the reason instead of as unknown.
    void unsupported(std::span<const Unsupported> options);

    /// nullopt: parsed. A number: exit with it, all was said.
    [[nodiscard]] std::optional<int> parse(int argc, char** argv);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace drupe::cli
