#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace drupe::engine {

/// Lines for people while something takes time.
using Say = std::function<void(std::string_view)>;

/// What becomes of one layer that is pulled or pushed: "Downloading", 10 of 40 bytes.
struct LayerProgress {
    std::string id;     ///< Of its blob, shortened.
    std::string state;  ///< In Docker's words.
    uint64_t bytes = 0;
    uint64_t total_bytes = 0;  ///< 0: there is nothing to count.
};
using Watch = std::function<void(const LayerProgress&)>;

/// What one pull or push identifies itself by; nothing at all: not at all.
struct RegistryLogin {
    std::string user;
    std::string password;
    std::string identity_token;
};
[[nodiscard]] std::string credentials_json(const RegistryLogin& login);

/// One run of drupe-import.
/// arguments: {"images", PATH, NAME}, {"rootfs", PATH, NAME}, {"busybox", PATH}, {"pull", NAME},
/// {"push", NAME} or {"check-login", REGISTRY, USER}; an empty NAME is the source's own. {"replay",
/// CHAIN} returns the chain with its journal replayed.
struct ImporterTask {
    std::vector<std::string> arguments;
    std::string input;  ///< On its standard input: a password; of a pull or push, what
                        ///< credentials_json() makes, or nothing: then the user's own count.
    Say say;
    Watch watch;
    /// Asked now and then; once it says true the helper is killed, and the error is kConflict.
    std::function<bool()> cancelled{};
};
struct ImporterReport {
    std::vector<std::string> names;  ///< Canonical references, or ids of images without one.
    std::string digest;              ///< Of a manifest: what was pulled or pushed.
    bool is_newer = false;           ///< Of a pull: the name meant something else before.
    uint64_t size_bytes = 0;         ///< Of a pushed manifest.
};

/// Runs drupe-import: images are read by a process of their own, which may trip over a hostile
/// archive or registry alone, and whose libraries nobody else has to load. It ends with this
/// process.
[[nodiscard]] Result<ImporterReport> run_importer(const std::string& program,
                                                  const std::string& root,
                                                  const ImporterTask& task);
/// The same for what has no more to say than names.
[[nodiscard]] Result<std::vector<std::string>> run_importer(
    const std::string& program, const std::string& root, const std::vector<std::string>& arguments,
    const Say& say);

}  // namespace drupe::engine
