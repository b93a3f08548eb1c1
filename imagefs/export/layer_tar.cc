#include "imagefs/export/layer_tar.h"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "imagefs/import/tar_stream.h"

namespace drupe::imagefs {
namespace {

using guestfs::Extent;
using guestfs::Inode;
using guestfs::kBlockSize;

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr uint64_t kPieceBlocks = 64;
/// Names are kept of so many files that have several.
constexpr size_t kMaxLinkedFiles = 1'000'000;

std::string_view base_name(std::string_view path) {
    return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

class LayerTar {
  public:
    LayerTar(TreeDiff& diff, const TarSink& sink, const LayerTarLimits& limits)
        : diff_(diff), sink_(sink), limits_(limits), piece_(kPieceBlocks * kBlockSize) {}

    Status add(const Change& change) {
        if (!change.after) {
            return change.below_replaced ? ok() : whiteout(change.path);
        }
        if (change.path.empty() && change.kind == Change::Kind::kParent) return ok();
        if (base_name(change.path).starts_with(kWhiteout)) {
            return Error{ErrorCode::kUnsupported,
                         fmt::format("/{}: a layer can't hold it: its name means that something "
                                     "was deleted",
                                     change.path)};
        }
        auto entry = guestfs::describe(*change.after);
        if (!entry) {  // A socket. What it replaced is gone all the same.
            return change.replaced ? whiteout(change.path) : ok();
        }
        entry->path = change.path;
        if (entry->type == ext4::EntryType::kDirectory) {
            return directory(change, std::move(*entry));
        }
        return file(*change.after, std::move(*entry));
    }

    Result<LayerTarStats> finish() {
        TRY(tar_.finish());
        TRY(sink_(tar_.take()));
        return stats_;
    }

  private:
    Status header(const ext4::Entry& entry) {
        ++stats_.entries;
        TRY(tar_.header(entry));
        return sink_(tar_.take());
    }

    Status whiteout(const std::string& path) {
        ext4::Entry entry;
        const size_t name = path.rfind('/') + 1;
        entry.path = path.substr(0, name);
        entry.path += kWhiteout;
        entry.path += path.substr(name);
        ++stats_.whiteouts;
        return header(entry);
    }

    Status directory(const Change& change, ext4::Entry entry) {
        entry.path = change.path.empty() ? "./" : change.path + "/";
        TRY_ASSIGN(entry.xattrs, xattrs(*change.after, change.path));
        TRY(header(entry));
        if (!change.replaced || !change.before->is_directory()) return ok();
        ext4::Entry opaque;
        opaque.path = entry.path;
        opaque.path += kOpaque;
        ++stats_.whiteouts;
        return header(opaque);
    }

    Status file(const Inode& inode, ext4::Entry entry) {
        if (inode.links > 1) {
            const auto [first, fresh] = first_names_.try_emplace(inode.number, entry.path);
            if (!fresh) {
                entry.type = ext4::EntryType::kHardlink;
                entry.target = first->second;
                entry.size = 0;
                return header(entry);
            }
            if (first_names_.size() > kMaxLinkedFiles) {
                return Error{ErrorCode::kLimit,
                             fmt::format("more than {} files of several names", kMaxLinkedFiles)};
            }
        }
        if (entry.type == ext4::EntryType::kSymlink) {
            auto target = diff_.after().read_link(inode);
            if (!target) return std::move(target).error().wrap("/" + entry.path);
            entry.target = std::move(target).value();
        }
        TRY_ASSIGN(entry.xattrs, xattrs(inode, entry.path));
        if (!inode.is_regular()) return header(entry);
        if (entry.size > limits_.max_content_bytes - stats_.content_bytes) {
            return Error{ErrorCode::kLimit,
                         fmt::format("/{}: with its {} bytes there are more than {} in all",
                                     entry.path, entry.size, limits_.max_content_bytes)};
        }
        auto map = diff_.after().extents(inode);
        if (!map) return std::move(map).error().wrap("/" + entry.path);
        TRY(header(entry));
        return content(inode.size, map.value());
    }

    Result<std::vector<ext4::Xattr>> xattrs(const Inode& inode, const std::string& path) {
        auto list = diff_.after().xattrs(inode);
        if (!list) return std::move(list).error().wrap("/" + path);
        return list;
    }

    Status content(uint64_t size, const std::vector<Extent>& map) {
        uint64_t done = 0;
        for (const Extent& extent : map) {
            if (extent.unwritten) continue;
            TRY(zeroes(done, extent.logical * kBlockSize));
            done = extent.logical * kBlockSize;
            for (uint64_t at = 0; at < extent.count;) {
                const uint64_t blocks = std::min(kPieceBlocks, extent.count - at);
                const auto piece = std::span(piece_).first(blocks * kBlockSize);
                TRY(diff_.after().read_data(extent.physical + at, piece));
                const uint64_t bytes = std::min<uint64_t>(piece.size(), size - done);
                TRY(put(piece.first(bytes)));
                done += bytes;
                at += blocks;
            }
        }
        return zeroes(done, size);
    }

    Status zeroes(uint64_t from, uint64_t to) {
        if (from < to) std::fill(piece_.begin(), piece_.end(), std::byte{0});
        while (from < to) {
            const uint64_t bytes = std::min<uint64_t>(piece_.size(), to - from);
            TRY(put(std::span(piece_).first(bytes)));
            from += bytes;
        }
        return ok();
    }

    Status put(std::span<const std::byte> bytes) {
        stats_.content_bytes += bytes.size();
        TRY(tar_.content({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
        return sink_(tar_.take());
    }

    TreeDiff& diff_;
    const TarSink& sink_;
    const LayerTarLimits limits_;
    TarWriter tar_;
    LayerTarStats stats_;
    std::vector<std::byte> piece_;
    std::unordered_map<uint32_t, std::string> first_names_;
};

}  // namespace

Result<LayerTarStats> write_layer_tar(TreeDiff& diff, const TarSink& sink,
                                      const LayerTarLimits& limits) {
    LayerTar tar(diff, sink, limits);
    TRY(diff.walk([&](const Change& change) { return tar.add(change); }));
    return tar.finish();
}

}  // namespace drupe::imagefs
