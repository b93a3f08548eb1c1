#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "base/fd.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs::test {

/// What of a store's folder would be there after a power cut: of each file what it had when it was
/// last synced, of each folder the names that it had then, of the database the last synced
/// transaction. Kept in a folder beside it, so that it outlives a process that is killed.
class PowerCut {
  public:
    PowerCut(std::string root, std::string shadow)
        : root_(std::move(root)), shadow_(std::move(shadow)) {}

    /// Everything is durable as it is now.
    void start() const {
        for (const char* part : {"inodes", "content", "folders", "db"}) {
            std::filesystem::create_directories(shadow_ + "/" + part);
        }
        note_folder(root_);
        for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
            if (entry.is_directory()) note_folder(entry.path());
            if (entry.is_regular_file()) note_file(entry.path());
        }
        note_database();
    }

    /// A path was synced (or "drupe.db": a transaction).
    void synced(const std::string& path) const {
        if (path == "drupe.db") {
            note_database();
        } else if (std::filesystem::is_directory(path)) {
            note_folder(path);
        } else if (std::filesystem::exists(path)) {
            note_file(path);
        }
    }

    /// The power goes: takes back all that isn't durable. No process has the store open.
    void cut() const {
        restore_folder(root_);
        for (const char* name : {"drupe.db", "drupe.db-wal", "drupe.db-shm"}) {
            std::filesystem::remove(root_ + "/" + name);
            const std::string saved = shadow_ + "/db/" + name;
            if (std::filesystem::exists(saved)) {
                std::filesystem::copy_file(saved, root_ + "/" + name);
            }
        }
    }

  private:
    static std::string inode_of(const std::string& path) {
        struct stat st {};
        if (::lstat(path.c_str(), &st) < 0) std::abort();
        return std::to_string(st.st_ino);
    }
    static bool is_database(const std::string& path) {
        return std::filesystem::path(path).filename().string().starts_with("drupe.db");
    }
    [[nodiscard]] std::string folder_file(const std::string& path) const {
        std::string name = path.substr(root_.size());
        for (char& c : name) {
            if (c == '/') c = '!';
        }
        return shadow_ + "/folders/" + name + "!";
    }

    void note_folder(const std::string& path) const {
        std::ofstream list(folder_file(path) + ".new");
        for (const auto& entry : std::filesystem::directory_iterator(path)) {
            const std::string inode = inode_of(entry.path());
            list << inode << " " << entry.path().filename().string() << "\n";
            if (entry.is_regular_file()) keep(entry.path(), inode);
        }
        list.close();
        std::filesystem::rename(folder_file(path) + ".new", folder_file(path));
    }
    /// Another name, so that a removal can be taken back.
    void keep(const std::string& path, const std::string& inode) const {
        const std::string other = shadow_ + "/inodes/" + inode;
        if (::link(path.c_str(), other.c_str()) != 0 && errno != EEXIST) {
            throw std::system_error(errno, std::generic_category(), path);
        }
    }
    void note_file(const std::string& path) const {
        if (is_database(path)) return;
        const std::string inode = inode_of(path);
        keep(path, inode);
        const std::string saved = shadow_ + "/content/" + inode;
        copy_sparse(path, saved + ".new");
        std::filesystem::rename(saved + ".new", saved);
    }
    void note_database() const {
        for (const char* name : {"drupe.db", "drupe.db-wal"}) {
            const std::string from = root_ + "/" + name;
            if (!std::filesystem::exists(from)) continue;
            std::filesystem::copy_file(from, shadow_ + "/db/" + name,
                                       std::filesystem::copy_options::overwrite_existing);
        }
    }

    void restore_folder(const std::string& path) const {
        std::set<std::string> names;
        std::ifstream list(folder_file(path));
        std::string inode;
        std::string name;
        while (list >> inode >> name) {
            names.insert(name);
            std::string child = path;
            child.append("/").append(name);
            if (is_database(child)) continue;
            const std::string kept = shadow_ + "/inodes/" + inode;
            const bool is_file = std::filesystem::exists(kept);
            if (!is_file) {
                std::filesystem::create_directories(child);
                restore_folder(child);
                continue;
            }
            if (!std::filesystem::exists(child) || inode_of(child) != inode) {
                std::filesystem::remove(child);
                if (::link(kept.c_str(), child.c_str()) < 0) std::abort();
            }
            const std::string saved = shadow_ + "/content/" + inode;
            if (std::filesystem::exists(saved)) {
                copy_sparse(saved, child);
            } else {
                std::filesystem::resize_file(child, 0);
            }
        }
        for (const auto& entry : std::filesystem::directory_iterator(path)) {
            if (!names.contains(entry.path().filename().string()) && !is_database(entry.path())) {
                std::filesystem::remove_all(entry.path());
            }
        }
    }

    /// The target keeps its inode.
    static void copy_sparse(const std::string& from, const std::string& to) {
        const Fd in = value_of(open_file(from, O_RDONLY));
        const Fd out = value_of(open_file(to, O_RDWR | O_CREAT, 0600));
        struct stat st {};
        if (::fstat(in.get(), &st) < 0 || ::ftruncate(out.get(), 0) < 0 ||
            ::ftruncate(out.get(), st.st_size) < 0) {
            std::abort();
        }
        for (off_t at = ::lseek(in.get(), 0, SEEK_DATA); at >= 0;) {
            const off_t hole = ::lseek(in.get(), at, SEEK_HOLE);
            std::string data(static_cast<size_t>(hole - at), '\0');
            if (!read_exact(in.get(), std::as_writable_bytes(std::span(data)),
                            static_cast<uint64_t>(at)) ||
                !write_exact(out.get(), std::as_bytes(std::span(data)),
                             static_cast<uint64_t>(at))) {
                std::abort();
            }
            at = ::lseek(in.get(), hole, SEEK_DATA);
        }
    }

    std::string root_;
    std::string shadow_;
};

}  // namespace drupe::imagefs::test
