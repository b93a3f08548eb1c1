// drupe-export: reads two disks that guests may have written, and says how the second differs from
// the first. Started by the engine in a jail (disk_reader.h), not by people.
//
//   drupe-export diff|tar LAYERS1 LAYERS2 TOP
//
// diff: 'A', 'C' or 'D' and a path, ended by a zero byte, for each change. tar: an OCI layer.
// Descriptors: 1 takes that, 2 takes {"error": TEXT, "code": NUMBER} if it can't be done; from 3
// on: the first disk's index and layers, the second's, and if TOP is 1 its top's data and meta.

#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <string>
#include <vector>

#include "base/json_reader.h"
#include "imagefs/diff/docker_diff.h"
#include "imagefs/export/layer_tar.h"
#include "monitor/confine/seccomp.h"

namespace drupe {
namespace {

constexpr int kFirstDescriptor = 3;
constexpr size_t kFlushBytes = 64 << 10;

/// Standard output, in large pieces.
class Output {
  public:
    Status put(std::string_view bytes) {
        buffer_ += bytes;
        return buffer_.size() < kFlushBytes ? Status(ok()) : flush();
    }
    Status flush() {
        TRY(write_all(STDOUT_FILENO, std::as_bytes(std::span(buffer_))));
        buffer_.clear();
        return ok();
    }

  private:
    std::string buffer_;
};

/// Takes over the descriptors of a disk, in their order.
class Inherited {
  public:
    imagefs::DiskFiles disk(unsigned layers, bool top) {
        imagefs::DiskFiles files;
        files.index = next();
        for (unsigned i = 0; i < layers; ++i) files.layers.push_back(next());
        if (top) {
            files.top_data = next();
            files.top_meta = next();
        }
        return files;
    }

  private:
    Fd next() { return Fd(next_++); }
    int next_ = kFirstDescriptor;
};

Status say_diff(imagefs::TreeDiff& diff, Output& out) {
    imagefs::DockerDiff docker(diff, [&](char kind, std::string_view path) -> Status {
        TRY(out.put({&kind, 1}));
        TRY(out.put(path));
        return out.put({"\0", 1});
    });
    return diff.walk([&](const imagefs::Change& change) { return docker.add(change); });
}

Status say_tar(imagefs::TreeDiff& diff, Output& out) {
    TRY(imagefs::write_layer_tar(diff, [&](std::string_view bytes) { return out.put(bytes); }));
    return ok();
}

Status run(std::string_view what, unsigned old_layers, unsigned new_layers, bool top) {
    TRY(confine::install(confine::Role::kReader));
    Inherited inherited;
    imagefs::DiskFiles old_files = inherited.disk(old_layers, false);
    imagefs::DiskFiles new_files = inherited.disk(new_layers, top);
    TRY_ASSIGN(auto before, imagefs::LayeredDisk::open_to_read(std::move(old_files)));
    TRY_ASSIGN(auto after, imagefs::LayeredDisk::open_to_read(std::move(new_files)));
    TRY_ASSIGN(auto pair, imagefs::make_layered_pair(std::move(before), std::move(after)));
    TRY_ASSIGN(imagefs::TreeDiff diff, imagefs::TreeDiff::open(std::move(pair)));
    Output out;
    TRY(what == "diff" ? say_diff(diff, out) : say_tar(diff, out));
    return out.flush();
}

bool parse_count(std::string_view text, unsigned& out) {
    const auto end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, out);
    return parsed.ec == std::errc() && parsed.ptr == end && out <= imagefs::kMaxChainLayers;
}

}  // namespace
}  // namespace drupe

int main(int argc, char** argv) {
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    unsigned old_layers = 0;
    unsigned new_layers = 0;
    unsigned top = 0;
    if (words.size() != 4 || (words[0] != "diff" && words[0] != "tar") ||
        !drupe::parse_count(words[1], old_layers) || !drupe::parse_count(words[2], new_layers) ||
        !drupe::parse_count(words[3], top)) {
        return 2;
    }
    const auto done = drupe::run(words[0], old_layers, new_layers, top != 0);
    if (done) return 0;
    const std::string said = drupe::dump_json(
        {{"error", done.error().message}, {"code", static_cast<unsigned>(done.error().code)}});
    return drupe::write_all(STDERR_FILENO, std::as_bytes(std::span(said))) ? 1 : 3;
}
