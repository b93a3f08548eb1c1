#include "devices/virtio_blk/request.h"

#include <linux/virtio_blk.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace drupe::virtio {
namespace {

constexpr uint64_t kBlock = BlockBackend::kBlockSize;
constexpr size_t kHeaderBytes = sizeof(virtio_blk_outhdr);

bool has(uint64_t features, int bit) {
    return (features >> bit & 1) != 0;
}

/// The byte offset of a range that lies inside the disk in whole blocks.
std::optional<uint64_t> place(uint64_t sector, uint64_t length, const BlockBackend& disk) {
    if (sector > UINT64_MAX / BlkLimits::kSector) return std::nullopt;
    const uint64_t offset = sector * BlkLimits::kSector;
    if (offset % kBlock != 0 || length % kBlock != 0) return std::nullopt;
    if (offset > disk.size_bytes() || length > disk.size_bytes() - offset) return std::nullopt;
    return offset;
}

}  // namespace

struct BlkRequests::Header : virtio_blk_outhdr {};

struct BlkRequests::Answer {
    uint8_t status = VIRTIO_BLK_S_OK;
    uint64_t data = 0;  // bytes filled from the start of the writable part
    const char* fault = nullptr;

    static Answer refused(const char* why) { return {VIRTIO_BLK_S_IOERR, 0, why}; }
    static Answer unsupported(const char* why) { return {VIRTIO_BLK_S_UNSUPP, 0, why}; }
};

BlkOutcome BlkRequests::serve(const DescriptorChain& chain, BlockBackend* disk, uint64_t features) {
    // The last writable byte is the status, whatever else the chain looks like.
    if (chain.writable_size() == 0) return {0, "request without a status byte"};
    Header header{};
    Answer answer = Answer::refused("request shorter than its header");
    if (chain.read(0, std::as_writable_bytes(std::span(&header, 1))) == kHeaderBytes)
        answer = dispatch(header, chain, disk, features);
    const uint64_t status_at = chain.writable_size() - 1;
    chain.write(status_at, std::as_bytes(std::span(&answer.status, 1)));
    // 2.7.8.2: only what is filled without a gap may be counted.
    const uint64_t written = answer.data == status_at ? status_at + 1 : answer.data;
    return {static_cast<uint32_t>(written), answer.fault};
}

BlkRequests::Answer BlkRequests::dispatch(const Header& header, const DescriptorChain& chain,
                                          BlockBackend* disk, uint64_t features) {
    if (header.type == VIRTIO_BLK_T_GET_ID) return get_id(chain);
    const bool zeroes = header.type == VIRTIO_BLK_T_WRITE_ZEROES;
    const bool known =
        header.type == VIRTIO_BLK_T_IN || header.type == VIRTIO_BLK_T_OUT ||
        header.type == VIRTIO_BLK_T_FLUSH ||
        (header.type == VIRTIO_BLK_T_DISCARD && has(features, VIRTIO_BLK_F_DISCARD)) ||
        (zeroes && has(features, VIRTIO_BLK_F_WRITE_ZEROES));
    if (!known) return Answer::unsupported("request of an unknown type");
    if (disk == nullptr) return Answer::refused("request to an empty slot");
    switch (header.type) {
        case VIRTIO_BLK_T_IN:
            return read(header, chain, disk);
        case VIRTIO_BLK_T_FLUSH:
            return flush(disk);
        default:
            break;
    }
    if (disk->read_only()) return Answer::refused("write to a read-only disk");
    if (header.type == VIRTIO_BLK_T_OUT) return write(header, chain, disk, features);
    return ranges(chain, disk, zeroes);
}

BlkRequests::Answer BlkRequests::read(const Header& header, const DescriptorChain& chain,
                                      BlockBackend* disk) {
    const uint64_t length = chain.writable_size() - 1;
    const auto offset = place(header.sector, length, *disk);
    if (!offset || length > BlkLimits::kMaxTransferBytes)
        return Answer::refused("read outside of the disk or not of whole blocks");
    iovecs_.clear();
    chain.writable_iovecs(0, length, iovecs_);
    if (const Status status = disk->read(*offset, iovecs_); !status)
        return backend_failed("read", status.error());
    return {VIRTIO_BLK_S_OK, length, nullptr};
}

BlkRequests::Answer BlkRequests::write(const Header& header, const DescriptorChain& chain,
                                       BlockBackend* disk, uint64_t features) {
    const uint64_t length = chain.readable_size() - kHeaderBytes;
    const auto offset = place(header.sector, length, *disk);
    if (!offset || length > BlkLimits::kMaxTransferBytes)
        return Answer::refused("write outside of the disk or not of whole blocks");
    iovecs_.clear();
    chain.readable_iovecs(kHeaderBytes, length, iovecs_);
    if (const Status status = disk->write(*offset, iovecs_); !status)
        return backend_failed("write", status.error());
    // A driver that can't flush gets a write-through disk (5.2.6.2).
    return has(features, VIRTIO_BLK_F_FLUSH) ? Answer{} : flush(disk);
}

BlkRequests::Answer BlkRequests::flush(BlockBackend* disk) {
    if (const Status status = disk->flush(); !status)
        return backend_failed("flush", status.error());
    return {};
}

BlkRequests::Answer BlkRequests::get_id(const DescriptorChain& chain) const {
    std::array<char, VIRTIO_BLK_ID_BYTES> id{};  // padded with zeroes, not terminated
    if (chain.writable_size() < id.size() + 1) return Answer::refused("GET_ID without room");
    std::memcpy(id.data(), serial_.data(), std::min(serial_.size(), id.size()));
    chain.write(0, std::as_bytes(std::span(id)));
    return {VIRTIO_BLK_S_OK, id.size(), nullptr};
}

// DISCARD and WRITE_ZEROES. All segments are copied and checked before the first one is done.
BlkRequests::Answer BlkRequests::ranges(const DescriptorChain& chain, BlockBackend* disk,
                                        bool zeroes) {
    using Segment = virtio_blk_discard_write_zeroes;
    constexpr size_t kMost = std::max(BlkLimits::kDiscardSegments, BlkLimits::kZeroSegments);
    std::array<Segment, kMost> segments{};
    const uint64_t bytes = chain.readable_size() - kHeaderBytes;
    const uint64_t count = bytes / sizeof(Segment);
    const uint64_t most = zeroes ? BlkLimits::kZeroSegments : BlkLimits::kDiscardSegments;
    if (bytes % sizeof(Segment) != 0 || count == 0 || count > most)
        return Answer::refused("discard or write-zeroes with a wrong number of segments");
    chain.read(kHeaderBytes, std::as_writable_bytes(std::span(segments).first(count)));

    const uint32_t known_flags = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    const uint32_t most_sectors = zeroes ? BlkLimits::kZeroSectors : BlkLimits::kDiscardSectors;
    for (size_t i = 0; i < count; ++i) {
        if ((segments[i].flags & ~known_flags) != 0)
            return Answer::unsupported("discard or write-zeroes with unknown flags");
        if (segments[i].num_sectors > most_sectors ||
            !place(segments[i].sector, segments[i].num_sectors * BlkLimits::kSector, *disk))
            return Answer::refused("discard or write-zeroes outside of the disk or its limits");
    }
    for (size_t i = 0; i < count; ++i) {
        const uint64_t offset = segments[i].sector * BlkLimits::kSector;
        const uint64_t length = segments[i].num_sectors * BlkLimits::kSector;
        if (length == 0) continue;
        const Status status = zeroes ? disk->write_zeroes(offset, length, segments[i].flags != 0)
                                     : disk->discard(offset, length);
        if (!status) return backend_failed(zeroes ? "write-zeroes" : "discard", status.error());
    }
    return {};
}

BlkRequests::Answer BlkRequests::backend_failed(const char* what, const Error& error) {
    // The host's trouble, not the guest's fault.
    if (errors_.pass()) log(LogLevel::kError, "{}: {}: {}", name_, what, error.message);
    return {VIRTIO_BLK_S_IOERR, 0, nullptr};
}

}  // namespace drupe::virtio
