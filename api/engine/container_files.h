#pragma once

#include <memory>
#include <optional>
#include <string>

#include "api/engine/engine.h"

namespace drupe::engine {

/// A builtin of drupe-init's that runs in a container: a tar that is read or written. Killed with
/// the object unless it was finished.
class FileStream {
  public:
    FileStream(ControlClient client, uint32_t session, Fd data, Fd error)
        : client_(std::move(client)),
          session_(session),
          data_(std::move(data)),
          error_(std::move(error)) {}
    FileStream(FileStream&&) = default;
    FileStream& operator=(FileStream&&) = delete;
    ~FileStream();

    /// The tar: to be read (get) or written (put). What is read is the guest's, and hostile.
    [[nodiscard]] int data() const { return data_.get(); }
    /// The same, for somebody else to read; a stream's end is then theirs to see.
    [[nodiscard]] Fd take_data() { return std::move(data_); }

    /// Closes the tar and waits for the end of the work. The Error is the guest's: kNotFound
    /// (ENOENT), kConflict and so on; its text is cut to size.
    [[nodiscard]] Status finish();
    /// Ends the work in the guest; finish() then says what it had come to.
    void cancel();

  private:
    ControlClient client_;
    uint32_t session_;
    Fd data_;
    Fd error_;
    bool finished_ = false;
};

struct PutOptions {
    /// A directory doesn't replace another kind of file, nor the other way round.
    bool no_overwrite_dir_non_dir = true;
    /// Owners as in the archive (Docker's copyUIDGID); else root's.
    bool copy_uid_gid = false;
};

/// The files of one container, by its guest's own file system. What follows is done by drupe-init
/// as the guest's root; the paths are the container's, relative ones from its root on.
class ContainerFiles {
  public:
    ContainerFiles(const ContainerFiles&) = delete;
    ContainerFiles& operator=(const ContainerFiles&) = delete;
    /// As close(); what it says is lost.
    ~ContainerFiles();

    [[nodiscard]] const Container& container() const { return container_; }

    /// What is at path; of a symbolic link the link itself, unless path ends with "/" or "/.".
    /// kNotFound: "Could not find the file PATH in container NAME".
    [[nodiscard]] Result<protocol::PathStat> stat(const std::string& path);
    /// A tar of what is at path, which is its top entry by its base name; "." for the root.
    [[nodiscard]] Result<FileStream> get(const std::string& path);
    /// Unpacks a tar into a folder that exists. kConflict: the container's root is read-only.
    [[nodiscard]] Result<FileStream> put(const std::string& path, const PutOptions& options);

    /// Has a machine that was started for this end, with all that was written on its disk. The
    /// Error says that this isn't sure.
    [[nodiscard]] Status close();

    /// What a guest's error about path means to its user.
    [[nodiscard]] Error explain(Error error, const std::string& path) const;

  private:
    friend class Engine;
    ContainerFiles(Engine& engine, Container container)
        : engine_(engine), container_(std::move(container)) {}
    [[nodiscard]] Status start_machine(ContainerLock lock);
    [[nodiscard]] Result<FileStream> run(protocol::Builtin builtin, std::vector<std::string> argv);

    Engine& engine_;
    Container container_;
    std::optional<ContainerLock> lock_;  // of a container that doesn't run
    std::optional<Machine> machine_;     // its machine
    Fd hold_;                            // at whose end that machine ends
};

}  // namespace drupe::engine
