#include "imagefs/store/top_log.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "imagefs/store/block_io.h"
#include "imagefs/store/layer_format.h"
#include "imagefs/store/writable_top.h"

namespace drupe::imagefs {
namespace {

constexpr std::string_view kMagic = "DRUPETOP";
constexpr uint32_t kVersion = 1;
constexpr uint32_t kMaxMarks = 32768;  // in a region before the next checkpoint
constexpr uint64_t kMarkBytes = 32;
constexpr uint64_t kChunkRecordBytes = 16 + sizeof(BlockMap::Chunk);

Error bad(std::string what) {
    return Error{ErrorCode::kCorrupt, "top's meta file: " + std::move(what)};
}

uint64_t chunk_count(uint64_t virtual_blocks) {
    return (virtual_blocks + BlockMap::kChunkBlocks - 1) / BlockMap::kChunkBlocks;
}

uint64_t region_offset(uint64_t virtual_blocks, uint32_t region) {
    const uint64_t bytes =
        round_up_to_block(chunk_count(virtual_blocks) * kChunkRecordBytes + kMaxMarks * kMarkBytes);
    return 2 * kBlock + region * bytes;
}

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

/// A record is its CRC32C and then what the CRC covers.
std::string with_crc(std::string_view payload) {
    Encoder out;
    out.put(crc32c(bytes_of(payload)));
    out.put_raw(payload);
    return out.take();
}
bool crc_matches(std::string_view record) {
    uint32_t crc = 0;
    std::memcpy(&crc, record.data(), sizeof crc);
    return crc == crc32c(bytes_of(record.substr(sizeof crc)));
}

/// What a checkpoint says of a word of states: a pending mark is about to be a durable one.
uint64_t settled(uint64_t states) {
    constexpr uint64_t kLow = 0x5555555555555555;
    return states & ~(states & states >> 1 & kLow);
}

uint64_t count_data(uint64_t states) {
    constexpr uint64_t kLow = 0x5555555555555555;
    return static_cast<uint64_t>(__builtin_popcountll(states & ~(states >> 1) & kLow));
}

}  // namespace

/// What a superblock says.
struct TopLog::Super {
    Identity identity;
    uint64_t generation = 0;
    uint64_t log_id = 0;
    uint32_t region = 0;
    uint32_t chunk_records = 0;
    uint64_t data_blocks = 0;
    bool clean = false;

    [[nodiscard]] std::string encode() const {
        Encoder out;
        out.put_raw(kMagic);
        out.put(kVersion);
        out.put(uint32_t{0});  // compat flags
        out.put(uint32_t{0});  // incompat flags
        out.put(static_cast<uint32_t>(kBlock));
        out.put(identity.virtual_blocks);
        for (const uint8_t byte : identity.chain_id.bytes) out.put(byte);
        out.put(identity.data_inode);
        out.put(generation);
        out.put(log_id);
        out.put(region);
        out.put(chunk_records);
        out.put(data_blocks);
        out.put(uint32_t{clean});
        return seal_block(out.take());
    }

    /// nullopt: no superblock, or a torn one.
    [[nodiscard]] static Result<std::optional<Super>> decode(std::string_view block) {
        if (block.substr(0, kMagic.size()) != kMagic || !block_is_sealed(block)) {
            return std::optional<Super>();
        }
        Decoder in(block.substr(kMagic.size()));
        const auto version = in.get<uint32_t>();
        (void)in.get<uint32_t>();  // compat flags: unknown ones don't matter
        const auto incompat = in.get<uint32_t>();
        if (version != kVersion || incompat != 0) {
            return Error{ErrorCode::kUnsupported,
                         fmt::format("top's meta file: format version {} with incompat flags "
                                     "{:#x}; this build reads version {} without",
                                     version, incompat, kVersion)};
        }
        const auto block_size = in.get<uint32_t>();
        Super super;
        super.identity.virtual_blocks = in.get<uint64_t>();
        for (uint8_t& byte : super.identity.chain_id.bytes) byte = in.get<uint8_t>();
        super.identity.data_inode = in.get<uint64_t>();
        super.generation = in.get<uint64_t>();
        super.log_id = in.get<uint64_t>();
        super.region = in.get<uint32_t>();
        super.chunk_records = in.get<uint32_t>();
        super.data_blocks = in.get<uint64_t>();
        super.clean = in.get<uint32_t>() != 0;
        const uint64_t blocks = super.identity.virtual_blocks;
        if (block_size != kBlock || blocks == 0 || blocks > kMaxVirtualBlocks || super.region > 1 ||
            super.chunk_records > chunk_count(blocks) || super.data_blocks > blocks ||
            super.generation > UINT64_MAX / 2) {
            return bad("a superblock's field is out of range");
        }
        return std::optional(super);
    }
};

Status TopLog::format(int fd, const Identity& identity) {
    Super super;
    super.identity = identity;
    super.generation = 1;
    super.log_id = 1;
    const std::string block = super.encode();
    TRY(write_exact(fd, bytes_of(block), kBlock));  // generation 1: slot 1
    const std::string empty(kBlock, '\0');
    return write_exact(fd, bytes_of(empty), 0);
}

Status TopLog::write_super(bool clean, TopIo& io) {
    ++generation_;
    const Super super{identity_,      generation_,  log_id_, region_,
                      chunk_records_, data_blocks_, clean};
    const std::string block = super.encode();
    TRY(write_exact(fd_.get(), bytes_of(block), generation_ % 2 * kBlock));
    return io.sync(fd_.get());
}

Status TopLog::sync(TopIo& io) {
    return io.sync(fd_.get());
}

Status TopLog::mark_dirty(TopIo& io) {
    return write_super(false, io);
}

bool TopLog::has_room(size_t count) const {
    return count <= kMaxMarks - marks_;
}

Status TopLog::append(std::span<const Mark> marks, TopIo& io) {
    DRUPE_CHECK(has_room(marks.size()));
    if (marks.empty()) return ok();  // and no batch: their numbers have no gaps
    std::string records;
    for (const Mark& mark : marks) {
        DRUPE_CHECK(mark.blocks <= UINT32_MAX);
        Encoder out;
        out.put(batch_ + 1);
        out.put(log_id_);
        out.put(mark.lba);
        out.put(static_cast<uint32_t>(mark.blocks));
        out.put(uint32_t{0});
        records += with_crc(out.bytes());
    }
    const uint64_t start = region_offset(identity_.virtual_blocks, region_) +
                           chunk_records_ * kChunkRecordBytes + marks_ * kMarkBytes;
    TRY(may_be_repeated(write_exact(fd_.get(), bytes_of(records), start)));
    ++batch_;
    marks_ += static_cast<uint32_t>(marks.size());
    return io.sync(fd_.get());
}

Status TopLog::checkpoint(const BlockMap& map, bool clean, TopIo& io) {
    // The other region: the superblock goes on naming this one until the new one is durable.
    const uint32_t region = 1 - region_;
    const uint64_t log_id = generation_ + 1;
    uint64_t offset = region_offset(identity_.virtual_blocks, region);
    uint32_t records = 0;
    uint64_t data_blocks = 0;
    for (size_t i = 0; i < map.chunk_count(); ++i) {
        if (map.chunk(i) == nullptr) continue;
        Encoder out;
        out.put(static_cast<uint32_t>(i));
        out.put(log_id);
        for (const uint64_t word : *map.chunk(i)) {
            out.put(settled(word));
            data_blocks += count_data(settled(word));
        }
        const std::string record = with_crc(out.bytes());
        TRY(may_be_repeated(write_exact(fd_.get(), bytes_of(record), offset)));
        offset += record.size();
        ++records;
    }
    TRY(io.sync(fd_.get()));
    region_ = region;
    log_id_ = log_id;
    chunk_records_ = records;
    data_blocks_ = data_blocks;
    batch_ = 0;
    marks_ = 0;
    return write_super(clean, io);
}

Status TopLog::load_checkpoint(BlockMap& map) const {
    uint64_t offset = region_offset(identity_.virtual_blocks, region_);
    std::string record(kChunkRecordBytes, '\0');
    uint64_t data_blocks = 0;
    int64_t last = -1;
    for (uint32_t n = 0; n < chunk_records_; ++n, offset += record.size()) {
        TRY(read_exact(fd_.get(), std::as_writable_bytes(std::span(record)), offset));
        Decoder in(std::string_view(record).substr(sizeof(uint32_t)));
        const auto chunk = in.get<uint32_t>();
        const auto log_id = in.get<uint64_t>();
        if (!crc_matches(record) || log_id != log_id_ || chunk >= map.chunk_count() ||
            chunk <= last) {
            return bad(fmt::format("record {} of the saved map is damaged", n));
        }
        last = chunk;
        BlockMap::Chunk states{};
        uint64_t position = chunk * BlockMap::kChunkBlocks;
        for (uint64_t& word : states) {
            word = in.get<uint64_t>();
            data_blocks += count_data(word);
            const uint64_t inside =
                position >= map.blocks() ? 0 : std::min<uint64_t>(32, map.blocks() - position);
            if (word != settled(word) || (inside < 32 && word >> 2 * inside != 0)) {
                return bad(fmt::format("record {} of the saved map has an impossible state", n));
            }
            position += 32;
        }
        map.set_chunk(chunk, states);
    }
    if (data_blocks != data_blocks_) {
        return bad(
            fmt::format("the saved map has {} blocks instead of {}", data_blocks, data_blocks_));
    }
    return ok();
}

Status TopLog::load_marks(BlockMap& map) const {
    struct stat st {};
    if (::fstat(fd_.get(), &st) < 0) return os_error("top's meta file: fstat");
    const uint64_t start =
        region_offset(identity_.virtual_blocks, region_) + chunk_records_ * kChunkRecordBytes;
    const auto end = static_cast<uint64_t>(st.st_size);
    const uint64_t present = end <= start ? 0 : (end - start) / kMarkBytes;
    std::string bytes(kBlock, '\0');
    bool gap = false;
    uint32_t batch = 0;
    uint32_t batch_after_gap = 0;
    const uint64_t count = std::min<uint64_t>(kMaxMarks, present);
    for (uint64_t n = 0; n < count; ++n) {
        const uint64_t in_buffer = n * kMarkBytes % kBlock;
        if (in_buffer == 0) {
            bytes.resize(std::min(kBlock, (count - n) * kMarkBytes));
            TRY(read_exact(fd_.get(), std::as_writable_bytes(std::span(bytes)),
                           start + n * kMarkBytes));
        }
        const std::string_view record = std::string_view(bytes).substr(in_buffer, kMarkBytes);
        Decoder in(record.substr(sizeof(uint32_t)));
        const auto record_batch = in.get<uint32_t>();
        const auto log_id = in.get<uint64_t>();
        const auto lba = in.get<uint64_t>();
        const uint64_t blocks = in.get<uint32_t>();
        if (!crc_matches(record) || log_id != log_id_) {
            gap = true;
            continue;
        }
        // A batch is only begun when the one before is durable. So a crash tears the last one
        // alone, and a hole followed by a later batch is damage.
        if (gap && batch_after_gap == 0) batch_after_gap = record_batch;
        if (record_batch < batch || record_batch > batch + 1 ||
            (gap && record_batch != batch_after_gap)) {
            return bad(fmt::format("mark {} comes after a damaged one", n));
        }
        batch = record_batch;
        if (lba > map.blocks() || blocks > map.blocks() - lba) {
            return bad(fmt::format("mark {} is outside the disk", n));
        }
        map.set(lba, blocks, BlockState::kZero);
    }
    return ok();
}

Result<TopLog::Opened> TopLog::open(Fd meta) {
    std::optional<Super> newest;
    std::string block(kBlock, '\0');
    for (uint64_t slot = 0; slot < 2; ++slot) {
        TRY(read_exact(meta.get(), std::as_writable_bytes(std::span(block)), slot * kBlock));
        TRY_ASSIGN(const std::optional<Super> super, Super::decode(block));
        if (!super) continue;
        if (!newest || super->generation > newest->generation) newest = super;
    }
    if (!newest) return bad("neither superblock is valid");
    std::unique_ptr<TopLog> log(new TopLog);
    log->fd_ = std::move(meta);
    log->identity_ = newest->identity;
    log->generation_ = newest->generation;
    log->log_id_ = newest->log_id;
    log->region_ = newest->region;
    log->chunk_records_ = newest->chunk_records;
    log->data_blocks_ = newest->data_blocks;
    BlockMap map(newest->identity.virtual_blocks);
    TRY(log->load_checkpoint(map));
    if (!newest->clean) {
        TRY(log->load_marks(map));
    }
    struct stat st {};
    if (::fstat(log->fd_.get(), &st) < 0) return os_error("top's meta file: fstat");
    const bool untouched =
        newest->generation == 1 && static_cast<uint64_t>(st.st_size) == 2 * kBlock;
    return Opened{std::move(log), std::move(map), newest->clean, untouched};
}

}  // namespace drupe::imagefs
