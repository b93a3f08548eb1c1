// The block path without a guest: our layered disk against our own raw disk, both through the same
// queue and ring. blk_bench FOLDER DEPTH: prints lines "NAME RAW LAYERED RATIO", for bench/blk.

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "imagefs/store/disk_queue.h"
#include "imagefs/store/layer_file.h"
#include "imagefs/store/layered_disk.h"

namespace drupe::imagefs {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kBlocks = 16384;     // 64 MiB, all in the page cache
constexpr uint64_t kLayerBlocks = 128;  // that each further layer has
constexpr int kRounds = 21;             // interleaved; medians of their ratios
constexpr int kReads = 20'000;          // a round
constexpr int kWrites = 10;             // a round

template <class T>
T need(Result<T> result) {
    if (result) return std::move(result).value();
    fmt::print(stderr, "blk_bench: {}\n", result.error().message);
    std::exit(1);
}
void need(const Status& status) {
    if (status) return;
    fmt::print(stderr, "blk_bench: {}\n", status.error().message);
    std::exit(1);
}

double seconds(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

Digest number(uint8_t n) {
    Digest digest;
    digest.bytes.fill(n);
    return digest;
}

class Folder {
  public:
    explicit Folder(std::string path) : path_(std::move(path)) {}
    [[nodiscard]] Fd create(const std::string& name) const {
        return need(open_file(path_ + "/" + name, O_RDWR | O_CREAT | O_TRUNC, 0600));
    }

  private:
    std::string path_;
};

LayerFile make_layer(const Folder& folder, uint8_t n, const std::vector<uint64_t>& lbas) {
    LayerIdentity identity;
    identity.chain_id = number(n);
    if (n > 1) identity.parent = number(static_cast<uint8_t>(n - 1));
    identity.diff_id = number(n);
    identity.virtual_blocks = kBlocks;
    LayerWriter writer =
        need(LayerWriter::create(folder.create(fmt::format("layer{}", n)), identity));
    const std::vector<std::byte> data(kBlock, std::byte{n});
    for (const uint64_t lba : lbas) need(writer.add_data(lba, std::span(data).first<kBlock>()));
    return need(LayerFile::open(need(writer.finish()).fd, "layer"));
}

std::unique_ptr<BlockBackend> layered(const Folder& folder, int depth) {
    std::mt19937_64 random(1);
    std::vector<LayerFile> layers;
    for (int n = 1; n <= depth; ++n) {
        std::vector<uint64_t> lbas;
        for (uint64_t i = 0; i < (n == 1 ? kBlocks : kLayerBlocks); ++i)
            lbas.push_back(n == 1 ? i : random() % kBlocks);
        std::ranges::sort(lbas);
        lbas.erase(std::ranges::unique(lbas).begin(), lbas.end());
        layers.push_back(make_layer(folder, static_cast<uint8_t>(n), lbas));
    }
    DiskFiles files;
    files.index = folder.create("index");
    need(write_merged_index(files.index.get(), layers));
    for (const LayerFile& layer : layers)
        files.layers.emplace_back(::fcntl(layer.fd(), F_DUPFD_CLOEXEC, 3));
    files.top_data = folder.create("top");
    files.top_meta = folder.create("meta");
    need(WritableTop::format(files.top_data.get(), files.top_meta.get(), kBlocks,
                             number(static_cast<uint8_t>(depth))));
    return need(LayeredDisk::open(std::move(files)));
}

std::unique_ptr<BlockBackend> raw(const Folder& folder, bool filled) {
    Fd file = folder.create(filled ? "raw" : "sparse");
    if (::ftruncate(file.get(), static_cast<off_t>(kBlocks * kBlock)) < 0) std::exit(1);
    const std::vector<std::byte> data(kBlock, std::byte{1});
    for (uint64_t lba = 0; filled && lba < kBlocks; ++lba)
        need(write_exact(file.get(), data, lba * kBlock));
    return need(open_raw_disk(std::move(file), false));
}

/// A disk, its queue, and 32 requests that are used again and again.
class Bench final : private DiskQueue::Client {
  public:
    explicit Bench(std::unique_ptr<BlockBackend> disk)
        : disk_(std::move(disk)),
          buffers_(kSlots * kBlock),
          requests_(kSlots),
          queue_({"bench", nullptr, need(make_ring_io())}, *this) {
        queue_.use(disk_.get());
    }

    /// 4K reads, `depth` at a time.
    void read(int count, size_t depth, std::mt19937_64& random) {
        for (int done = 0; done < count; done += static_cast<int>(depth)) {
            for (size_t i = 0; i < depth; ++i)
                submit(i, DiskRequest::Kind::kRead, random() % kBlocks);
            finish();
        }
    }
    void write_and_flush(uint64_t lba) {
        submit(0, DiskRequest::Kind::kWrite, lba);
        finish();
        submit(0, DiskRequest::Kind::kFlush, 0);
        finish();
    }

  private:
    static constexpr size_t kSlots = 32;

    void submit(size_t i, DiskRequest::Kind kind, uint64_t lba) {
        DiskRequest& request = requests_[i];
        request.kind = kind;
        request.offset = lba * kBlock;
        request.length = kBlock;
        request.iovecs.assign(1, {&buffers_[i * kBlock], kBlock});
        queue_.submit(request);
    }
    void finish() {
        queue_.run();
        while (!queue_.idle()) queue_.wait();
    }
    void done(DiskRequest&, const Status& status) override { need(status); }
    void progressed() override {}

    std::unique_ptr<BlockBackend> disk_;
    std::vector<std::byte> buffers_;
    std::vector<DiskRequest> requests_;
    DiskQueue queue_;
};

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

/// Both disks in turn; which is first alternates.
void compare(const char* name, Bench& raw_disk, Bench& layered_disk, clockid_t clock, double per,
             const std::function<void(Bench&, int)>& work) {
    std::vector<double> raws;
    std::vector<double> layereds;
    std::vector<double> ratios;
    const auto measure = [&](Bench& disk, int round) {
        const double start = seconds(clock);
        work(disk, round);
        return (seconds(clock) - start) / per * 1e6;
    };
    work(raw_disk, 0);
    work(layered_disk, 0);
    for (int round = 1; round <= kRounds; ++round) {
        const bool raw_first = round % 2 == 0;
        double layered_us = raw_first ? 0 : measure(layered_disk, round);
        const double raw_us = measure(raw_disk, round);
        if (raw_first) layered_us = measure(layered_disk, round);
        raws.push_back(raw_us);
        layereds.push_back(layered_us);
        ratios.push_back(layered_us / raw_us);
    }
    fmt::print("{} {:.3f} {:.3f} {:.3f}\n", name, median(raws), median(layereds), median(ratios));
}

void run(const std::string& path, int depth) {
    const Folder folder(path);
    Bench raw_disk(raw(folder, true));
    Bench layered_disk(layered(folder, depth));
    const auto reads = [](size_t at_a_time) {
        return [at_a_time](Bench& disk, int round) {
            std::mt19937_64 random(static_cast<uint64_t>(round));
            disk.read(kReads, at_a_time, random);
        };
    };
    compare("qd1_us", raw_disk, layered_disk, CLOCK_MONOTONIC, kReads, reads(1));
    compare("qd32_cpu_us", raw_disk, layered_disk, CLOCK_PROCESS_CPUTIME_ID, kReads, reads(32));
    compare("qd32_us", raw_disk, layered_disk, CLOCK_MONOTONIC, kReads, reads(32));
    Bench sparse(raw(folder, false));
    compare(
        "write_fsync_us", sparse, layered_disk, CLOCK_MONOTONIC, kWrites,
        [](Bench& disk, int round) {
            for (uint64_t i = 0; i < kWrites; ++i)
                disk.write_and_flush((static_cast<uint64_t>(round) * kWrites + i) * 37 % kBlocks);
        });
}

}  // namespace
}  // namespace drupe::imagefs

int main(int argc, char** argv) {
    const int depth = argc == 3 ? std::atoi(argv[2]) : 0;
    if (depth < 1 || depth > 128) {
        std::fputs("usage: blk_bench FOLDER DEPTH\n", stderr);
        return 2;
    }
    drupe::imagefs::run(argv[1], depth);
    return 0;
}
