// For the scripts in tests/images: makes tops of disks and says what is in them, without the rest
// of Drupe.
//
//   export_tool top STORE IMAGE DISK TOP    what a raw disk, made from the image's, has, as a top
//   export_tool diff STORE IMAGE TOP        as docker diff prints it; what it cost on stderr
//   export_tool tar STORE IMAGE TOP FILE    what changed, as a layer
//   export_tool rootfs STORE IMAGE|TOP FILE all that an image or a top has

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "imagefs/diff/docker_diff.h"
#include "imagefs/export/layer_tar.h"
#include "imagefs/import/import.h"
#include "imagefs/oci/reference.h"

namespace drupe::imagefs {
namespace {

constexpr uint64_t kBlock = BlockBackend::kBlockSize;

Result<Image> find(Store& store, const std::string& name) {
    TRY_ASSIGN(const auto reference, oci::Reference::parse(name));
    return store.resolve(reference.canonical());
}

Result<std::unique_ptr<LayeredDisk>> open_chain(Store& store, const ChainId& chain) {
    TRY_ASSIGN(DiskFiles files, store.open_chain(chain));
    return LayeredDisk::open_to_read(std::move(files));
}
Result<std::unique_ptr<LayeredDisk>> open_top(Store& store, const std::string& id) {
    TRY_ASSIGN(DiskFiles files, store.open_top(id));
    return LayeredDisk::open_to_read(std::move(files));
}

Result<TreeDiff> open_diff(Store& store, const std::string& before, const std::string& after) {
    TRY_ASSIGN(const Image image, find(store, before));
    TRY_ASSIGN(auto old_disk, open_chain(store, image.chain_id));
    TRY_ASSIGN(auto new_disk, open_top(store, after));
    TRY_ASSIGN(auto pair, make_layered_pair(std::move(old_disk), std::move(new_disk)));
    return TreeDiff::open(std::move(pair));
}

/// Writes what a raw disk has and `to` hasn't.
Status copy_disk(const Fd& disk, LayeredDisk& to) {
    constexpr uint64_t kStep = 256;
    std::vector<std::byte> wanted(kStep * kBlock);
    std::vector<std::byte> there(kStep * kBlock);
    const uint64_t end = to.size_bytes() / kBlock;
    for (uint64_t at = 0; at < end;) {
        const uint64_t blocks = std::min(kStep, end - at);
        const off_t data = ::lseek(disk.get(), static_cast<off_t>(at * kBlock), SEEK_DATA);
        const uint64_t next = data < 0 ? end : static_cast<uint64_t>(data) / kBlock;
        TRY_ASSIGN(const MergedIndex::Run below, to.parent_run(at, end - at));
        if (next > at && !below.present) {
            at = std::min(next, at + below.blocks);
            continue;
        }
        TRY(read_exact(disk.get(), std::span(wanted).first(blocks * kBlock), at * kBlock));
        iovec all{there.data(), blocks * kBlock};
        TRY(to.read(at * kBlock, {&all, 1}));
        for (uint64_t i = 0; i < blocks; ++i) {
            iovec one{wanted.data() + i * kBlock, kBlock};
            if (std::memcmp(one.iov_base, there.data() + i * kBlock, kBlock) == 0) continue;
            TRY(to.write((at + i) * kBlock, {&one, 1}));
        }
        at += blocks;
    }
    return ok();
}

Status make_top(Store& store, const std::string& base, const std::string& path,
                const std::string& id) {
    TRY_ASSIGN(const Image image, find(store, base));
    TRY_ASSIGN(const Fd disk, open_file(path, O_RDONLY));
    TRY_ASSIGN(DiskFiles files, store.create_top(id, image.chain_id));
    TRY_ASSIGN(const auto top, LayeredDisk::open(std::move(files)));
    TRY(copy_disk(disk, *top));
    return top->close();
}

Status print_diff(Store& store, const std::string& before, const std::string& after) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    TRY_ASSIGN(TreeDiff diff, open_diff(store, before, after));
    std::string text;
    DockerDiff docker(diff, [&](char kind, std::string_view path) {
        text += fmt::format("{} {}\n", kind, path);
        return Status(ok());
    });
    TRY(diff.walk([&](const Change& change) { return docker.add(change); }));
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
    const DiffStats stats = diff.stats();
    fmt::print("{}", text);
    fmt::print(stderr, "{} us, {} blocks read, {} inodes changed, {} directories\n", took.count(),
               stats.blocks_read, stats.changed_inodes, stats.directories);
    return ok();
}

Status write_tar(TreeDiff diff, const std::string& path) {
    TRY_ASSIGN(const Fd out, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    const auto sink = [&](std::string_view bytes) {
        return write_all(out.get(), std::as_bytes(std::span(bytes)));
    };
    TRY_ASSIGN(const LayerTarStats stats, write_layer_tar(diff, sink));
    fmt::print(stderr, "{} entries, {} whiteouts, {} bytes\n", stats.entries, stats.whiteouts,
               stats.content_bytes);
    return ok();
}

/// All but what every disk starts from.
Status write_rootfs(Store& store, const std::string& name, const std::string& path) {
    const auto image = find(store, name);
    TRY_ASSIGN(auto disk,
               image ? open_chain(store, image.value().chain_id) : open_top(store, name));
    TRY_ASSIGN(const auto chain, store.chain(disk->index()->chain_id()));
    TRY_ASSIGN(auto empty, open_chain(store, chain.front().chain_id));
    TRY_ASSIGN(auto pair, make_layered_pair(std::move(empty), std::move(disk)));
    TRY_ASSIGN(TreeDiff diff, TreeDiff::open(std::move(pair)));
    return write_tar(std::move(diff), path);
}

Status run(const std::vector<std::string>& words) {
    const auto is = [&](std::string_view command, size_t count) {
        return words.size() == count && words[0] == command;
    };
    if (words.size() < 3) return Error{ErrorCode::kInvalid, "see the comment in export_tool.cc"};
    TRY_ASSIGN(Store store, Store::open(words[1]));
    if (is("top", 5)) return make_top(store, words[2], words[3], words[4]);
    if (is("diff", 4)) return print_diff(store, words[2], words[3]);
    if (is("tar", 5)) {
        TRY_ASSIGN(TreeDiff diff, open_diff(store, words[2], words[3]));
        return write_tar(std::move(diff), words[4]);
    }
    if (is("rootfs", 4)) return write_rootfs(store, words[2], words[3]);
    return Error{ErrorCode::kInvalid, "unknown command or wrong number of arguments"};
}

}  // namespace
}  // namespace drupe::imagefs

int main(int argc, char** argv) {
    const auto done = drupe::imagefs::run(std::vector<std::string>(argv + 1, argv + argc));
    if (done) return 0;
    fmt::print(stderr, "export_tool: {}\n", done.error().message);
    return 1;
}
