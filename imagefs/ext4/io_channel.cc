#include "imagefs/ext4/io_channel.h"

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

namespace drupe::imagefs::ext4 {
namespace {

constexpr size_t kBlockSize = BlockDevice::kBlockSize;
constexpr size_t kLines = 4096;
constexpr uint64_t kNoBlock = ~uint64_t{0};

thread_local BlockDevice* device_for_open = nullptr;
thread_local std::optional<Error> device_error;

/// Reads and writes of any byte range over a device of whole blocks. Single blocks (metadata, which
/// libext2fs rewrites over and over) stay in a direct-mapped cache; longer runs (file contents) go
/// straight through.
class CachedDevice {
  public:
    explicit CachedDevice(BlockDevice& device) : device_(device), lines_(kLines) {}

    Status read(uint64_t offset, std::span<std::byte> out) {
        while (!out.empty()) {
            const uint64_t lba = offset / kBlockSize;
            const size_t in_block = offset % kBlockSize;
            size_t done = 0;
            if (in_block == 0 && out.size() >= 2 * kBlockSize) {
                done = uncached_run(lba, out.size() / kBlockSize) * kBlockSize;
                if (done > 0) {
                    TRY(device_.read_blocks(lba, out.first(done)));
                }
            }
            if (done == 0) {
                TRY_ASSIGN(Line * line, load(lba));
                done = std::min(kBlockSize - in_block, out.size());
                std::memcpy(out.data(), bytes(*line) + in_block, done);
            }
            out = out.subspan(done);
            offset += done;
        }
        return ok();
    }

    Status write(uint64_t offset, std::span<const std::byte> data) {
        while (!data.empty()) {
            const uint64_t lba = offset / kBlockSize;
            const size_t in_block = offset % kBlockSize;
            size_t done = 0;
            if (in_block == 0 && data.size() >= 2 * kBlockSize) {
                const uint64_t count = data.size() / kBlockSize;
                forget(lba, count);
                done = count * kBlockSize;
                TRY(device_.write_blocks(lba, data.first(done)));
            } else {
                done = std::min(kBlockSize - in_block, data.size());
                TRY_ASSIGN(Line * line, done == kBlockSize ? claim(lba) : load(lba));
                std::memcpy(bytes(*line) + in_block, data.data(), done);
                line->dirty = true;
            }
            data = data.subspan(done);
            offset += done;
        }
        return ok();
    }

    Status zero(uint64_t lba, uint64_t count) {
        forget(lba, count);
        return device_.zero_blocks(lba, count);
    }

    /// Writes the dirty blocks in ascending order (the device packs what it gets in that order).
    Status flush() {
        std::vector<Line*> dirty;
        for (Line& line : lines_) {
            if (line.dirty) dirty.push_back(&line);
        }
        std::sort(dirty.begin(), dirty.end(),
                  [](const Line* a, const Line* b) { return a->lba < b->lba; });
        for (Line* line : dirty) {
            TRY(write_back(*line));
        }
        return ok();
    }

  private:
    struct Line {
        uint64_t lba = kNoBlock;
        bool dirty = false;
        std::unique_ptr<std::byte[]> data;
    };

    static std::byte* bytes(Line& line) { return line.data.get(); }
    Line& line_of(uint64_t lba) { return lines_[(lba * 0x9E3779B97F4A7C15ULL >> 52) % kLines]; }

    uint64_t uncached_run(uint64_t lba, uint64_t max) {
        uint64_t count = 0;
        while (count < max && line_of(lba + count).lba != lba + count) ++count;
        return count;
    }

    void forget(uint64_t lba, uint64_t count) {
        if (count > kLines) {
            for (Line& line : lines_) {
                if (line.lba >= lba && line.lba - lba < count) drop(line);
            }
            return;
        }
        for (uint64_t i = 0; i < count; ++i) {
            Line& line = line_of(lba + i);
            if (line.lba == lba + i) drop(line);
        }
    }
    static void drop(Line& line) {
        line.lba = kNoBlock;
        line.dirty = false;
    }

    Status write_back(Line& line) {
        if (line.dirty) {
            TRY(device_.write_blocks(line.lba, std::span(bytes(line), kBlockSize)));
            line.dirty = false;
        }
        return ok();
    }

    /// The line of a block whose old content is of no interest.
    Result<Line*> claim(uint64_t lba) {
        Line& line = line_of(lba);
        if (line.lba == lba) return &line;
        TRY(write_back(line));
        if (!line.data) line.data = std::make_unique<std::byte[]>(kBlockSize);
        line.lba = lba;
        return &line;
    }
    Result<Line*> load(uint64_t lba) {
        Line& line = line_of(lba);
        if (line.lba == lba) return &line;
        TRY(claim(lba));
        const auto read = device_.read_blocks(lba, std::span(bytes(line), kBlockSize));
        if (!read) {
            drop(line);
            return read.error();
        }
        return &line;
    }

    BlockDevice& device_;
    std::vector<Line> lines_;
};

CachedDevice& device_of(io_channel channel) {
    return *static_cast<CachedDevice*>(channel->private_data);
}

errcode_t remember(const Status& status, errcode_t code) {
    if (status) return 0;
    if (!device_error) device_error = status.error();
    return code;
}

/// libext2fs counts in blocks of the channel's current size, or with a negative count in bytes.
uint64_t byte_count(io_channel channel, int count) {
    return count < 0 ? static_cast<uint64_t>(-static_cast<int64_t>(count))
                     : static_cast<uint64_t>(count) * static_cast<uint64_t>(channel->block_size);
}

errcode_t channel_open(const char* name, int /*flags*/, io_channel* out) {
    if (device_for_open == nullptr) return EXT2_ET_BAD_DEVICE_NAME;
    auto* channel = static_cast<io_channel>(std::calloc(1, sizeof(struct_io_channel)));
    char* copy = strdup(name);
    if (channel == nullptr || copy == nullptr) {
        std::free(channel);
        std::free(copy);
        return EXT2_ET_NO_MEMORY;
    }
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = device_io_manager();
    channel->name = copy;
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = new CachedDevice(*device_for_open);
    *out = channel;
    return 0;
}

errcode_t channel_flush(io_channel channel) {
    return remember(device_of(channel).flush(), EXT2_ET_SHORT_WRITE);
}

errcode_t channel_close(io_channel channel) {
    if (--channel->refcount > 0) return 0;
    const errcode_t flushed = channel_flush(channel);
    delete &device_of(channel);
    std::free(channel->name);
    std::free(channel);
    return flushed;
}

errcode_t channel_set_blksize(io_channel channel, int block_size) {
    channel->block_size = block_size;
    return 0;
}

errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void* data) {
    const std::span out(static_cast<std::byte*>(data), byte_count(channel, count));
    const uint64_t offset = block * static_cast<uint64_t>(channel->block_size);
    return remember(device_of(channel).read(offset, out), EXT2_ET_SHORT_READ);
}

errcode_t channel_write64(io_channel channel, unsigned long long block, int count,
                          const void* data) {
    const std::span in(static_cast<const std::byte*>(data), byte_count(channel, count));
    const uint64_t offset = block * static_cast<uint64_t>(channel->block_size);
    return remember(device_of(channel).write(offset, in), EXT2_ET_SHORT_WRITE);
}

errcode_t channel_read(io_channel channel, unsigned long block, int count, void* data) {
    return channel_read64(channel, block, count, data);
}
errcode_t channel_write(io_channel channel, unsigned long block, int count, const void* data) {
    return channel_write64(channel, block, count, data);
}

errcode_t channel_write_byte(io_channel channel, unsigned long offset, int count,
                             const void* data) {
    const std::span in(static_cast<const std::byte*>(data), static_cast<size_t>(count));
    return remember(device_of(channel).write(offset, in), EXT2_ET_SHORT_WRITE);
}

errcode_t channel_zeroout(io_channel channel, unsigned long long block, unsigned long long count) {
    if (channel->block_size != static_cast<int>(kBlockSize)) return EXT2_ET_UNIMPLEMENTED;
    return remember(device_of(channel).zero(block, count), EXT2_ET_SHORT_WRITE);
}

errcode_t channel_readahead(io_channel, unsigned long long, unsigned long long) {
    return 0;
}

struct_io_manager make_manager() {
    struct_io_manager manager{};
    manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
    manager.name = "drupe block device";
    manager.open = channel_open;
    manager.close = channel_close;
    manager.set_blksize = channel_set_blksize;
    manager.read_blk = channel_read;
    manager.write_blk = channel_write;
    manager.flush = channel_flush;
    manager.write_byte = channel_write_byte;
    manager.read_blk64 = channel_read64;
    manager.write_blk64 = channel_write64;
    manager.discard = channel_zeroout;
    manager.cache_readahead = channel_readahead;
    manager.zeroout = channel_zeroout;
    return manager;
}

}  // namespace

DeviceForOpen::DeviceForOpen(BlockDevice& device) {
    device_for_open = &device;
}
DeviceForOpen::~DeviceForOpen() {
    device_for_open = nullptr;
}

struct_io_manager* device_io_manager() {
    static struct_io_manager manager = make_manager();
    return &manager;
}

Status take_device_error() {
    if (!device_error) return ok();
    Error error = std::move(*device_error);
    device_error.reset();
    return error;
}

}  // namespace drupe::imagefs::ext4
