#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.h"
#include "base/result.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs {

/// A seam for tests: called before each step that changes what is on the disk (and after each
/// sync), with what it does and to which file. It may end the process. Null, the default: nothing.
using StepHook = void (*)(std::string_view step, const std::string& path);
void set_step_hook(StepHook hook);
void at_step(std::string_view step, const std::string& path);

/// A new file in the store's tmp/, locked so that no other process takes it for a leftover. Removed
/// by the destructor unless published.
class TmpFile {
  public:
    [[nodiscard]] static Result<TmpFile> create(const std::string& dir);
    TmpFile(TmpFile&& other) noexcept;
    TmpFile& operator=(TmpFile&&) = delete;
    ~TmpFile();

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] Result<Fd> duplicate() const { return fd_.duplicate(); }
    /// The file's durable and complete content gets a name: fsync, rename over `path`, fsync of the
    /// folder.
    [[nodiscard]] Status publish(const std::string& path);
    /// Without either fsync: for what is made again if it is missing or damaged.
    [[nodiscard]] Status publish_unsynced(const std::string& path);
    /// The file without a name, for work that nobody else sees.
    [[nodiscard]] static Result<Fd> anonymous(const std::string& dir);

  private:
    TmpFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    Fd fd_;
    std::string path_;  ///< Empty once it is published or moved.
};

/// Of a file that is open: which one it is, and which content. Whatever changes the content changes
/// this.
struct FileVersion {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t size = 0;
    int64_t changed_s = 0;
    int64_t changed_ns = 0;
    friend bool operator==(const FileVersion&, const FileVersion&) = default;
};
[[nodiscard]] Result<FileVersion> version_of_file(int fd, const std::string& path);

/// 32 random bytes: the ID of a chain whose head's content has no name of its own yet.
[[nodiscard]] Result<ChainId> made_up_chain_id();

/// Removes files in tmp/ whose makers are gone.
[[nodiscard]] Status remove_leftovers(const std::string& dir);

/// Visits each entry of a folder; no error if there is no such folder.
[[nodiscard]] Status for_each_file(
    const std::string& dir,
    const std::function<Status(const std::string& path, const std::string& name)>& visit);
/// Bytes that a file occupies; 0 if there is none.
[[nodiscard]] uint64_t allocated_bytes(const std::string& path);
/// What a file or a folder with all that is in it occupies. Files with several names count once for
/// one `seen`.
using SeenFiles = std::set<std::pair<uint64_t, uint64_t>>;
[[nodiscard]] Result<uint64_t> tree_bytes(const std::string& path, SeenFiles& seen);
[[nodiscard]] Status remove_if_there(const std::string& path);
[[nodiscard]] Status make_dir(const std::string& path);
[[nodiscard]] Status sync_dir(const std::string& path);
[[nodiscard]] Status sync_file(int fd, const std::string& path);
[[nodiscard]] Status link_file(const std::string& from, const std::string& to);
[[nodiscard]] Status rename_file(const std::string& from, const std::string& to);
/// flock(2), going on after EINTR; with LOCK_NB, false if somebody else has it.
[[nodiscard]] Result<bool> lock_file(int fd, int operation, const std::string& path);
[[nodiscard]] Result<bool> has_no_name(int fd, const std::string& path);

/// Whether the file system of `dir` reports each hole of 4096 bytes exactly, also after a sync, and
/// keeps a block of zeroes as data: what recovery of a top relies on. kUnsupported if not.
[[nodiscard]] Status probe_file_system(const std::string& dir);

}  // namespace drupe::imagefs
