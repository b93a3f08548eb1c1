#include "devices/virtio_blk/request.h"

#include <linux/virtio_blk.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace drupe::virtio {
namespace {

using imagefs::DiskRequest;

constexpr uint64_t kBlock = BlockBackend::kBlockSize;
constexpr size_t kHeaderBytes = sizeof(virtio_blk_outhdr);

bool has(uint64_t features, int bit) {
    return (features >> bit & 1) != 0;
}

BlkAnswer refused(const char* why) {
    return {VIRTIO_BLK_S_IOERR, 0, why};
}
BlkAnswer unsupported(const char* why) {
    return {VIRTIO_BLK_S_UNSUPP, 0, why};
}

/// The byte offset of a range that lies inside the disk in whole blocks.
std::optional<uint64_t> place(uint64_t sector, uint64_t length, const BlockBackend& disk) {
    if (sector > UINT64_MAX / BlkLimits::kSector) return std::nullopt;
    const uint64_t offset = sector * BlkLimits::kSector;
    if (offset % kBlock != 0 || length % kBlock != 0) return std::nullopt;
    if (offset > disk.size_bytes() || length > disk.size_bytes() - offset) return std::nullopt;
    return offset;
}

/// What a request type is to the disk, if the driver may send it.
std::optional<DiskRequest::Kind> kind_of(uint32_t type, uint64_t features) {
    switch (type) {
        case VIRTIO_BLK_T_IN:
            return DiskRequest::Kind::kRead;
        case VIRTIO_BLK_T_OUT:
            return DiskRequest::Kind::kWrite;
        case VIRTIO_BLK_T_FLUSH:
            return DiskRequest::Kind::kFlush;
        case VIRTIO_BLK_T_DISCARD:
            if (has(features, VIRTIO_BLK_F_DISCARD)) return DiskRequest::Kind::kDiscard;
            return std::nullopt;
        case VIRTIO_BLK_T_WRITE_ZEROES:
            if (has(features, VIRTIO_BLK_F_WRITE_ZEROES)) return DiskRequest::Kind::kWriteZeroes;
            return std::nullopt;
        default:
            return std::nullopt;
    }
}

const char* name_of(DiskRequest::Kind kind) {
    switch (kind) {
        case DiskRequest::Kind::kRead:
            return "read";
        case DiskRequest::Kind::kWrite:
            return "write";
        case DiskRequest::Kind::kFlush:
            return "flush";
        case DiskRequest::Kind::kWriteZeroes:
            return "write-zeroes";
        case DiskRequest::Kind::kDiscard:
            return "discard";
    }
    return "request";
}

}  // namespace

struct BlkRequests::Header : virtio_blk_outhdr {};

std::optional<BlkAnswer> BlkRequests::parse(const DescriptorChain& chain, const BlockBackend* disk,
                                            uint64_t features, DiskRequest& request) const {
    // The last writable byte is the status, whatever else the chain looks like.
    if (chain.writable_size() == 0) return refused("request without a status byte");
    Header header{};
    if (chain.read(0, std::as_writable_bytes(std::span(&header, 1))) != kHeaderBytes)
        return refused("request shorter than its header");
    if (header.type == VIRTIO_BLK_T_GET_ID) return get_id(chain);
    const auto kind = kind_of(header.type, features);
    if (!kind) return unsupported("request of an unknown type");
    if (disk == nullptr) return refused("request to an empty slot");
    request.kind = *kind;
    switch (*kind) {
        case DiskRequest::Kind::kFlush:
            return std::nullopt;
        case DiskRequest::Kind::kRead:
            return transfer(header, chain, *disk, request);
        default:
            break;
    }
    if (disk->read_only()) return refused("write to a read-only disk");
    if (*kind == DiskRequest::Kind::kWrite) return transfer(header, chain, *disk, request);
    return ranges(chain, *disk, request);
}

std::optional<BlkAnswer> BlkRequests::transfer(const Header& header, const DescriptorChain& chain,
                                               const BlockBackend& disk,
                                               DiskRequest& request) const {
    const bool reads = request.kind == DiskRequest::Kind::kRead;
    const uint64_t length =
        reads ? chain.writable_size() - 1 : chain.readable_size() - kHeaderBytes;
    const auto offset = place(header.sector, length, disk);
    if (!offset || length > BlkLimits::kMaxTransferBytes)
        return refused("transfer outside of the disk or not of whole blocks");
    request.offset = *offset;
    request.length = length;
    request.iovecs.clear();
    if (reads) {
        chain.writable_iovecs(0, length, request.iovecs);
    } else {
        chain.readable_iovecs(kHeaderBytes, length, request.iovecs);
    }
    return std::nullopt;
}

BlkAnswer BlkRequests::get_id(const DescriptorChain& chain) const {
    std::array<char, VIRTIO_BLK_ID_BYTES> id{};  // padded with zeroes, not terminated
    if (chain.writable_size() < id.size() + 1) return refused("GET_ID without room");
    std::memcpy(id.data(), serial_.data(), std::min(serial_.size(), id.size()));
    chain.write(0, std::as_bytes(std::span(id)));
    return {VIRTIO_BLK_S_OK, id.size(), nullptr};
}

// DISCARD and WRITE_ZEROES. All segments are copied and checked before the first one is done.
std::optional<BlkAnswer> BlkRequests::ranges(const DescriptorChain& chain, const BlockBackend& disk,
                                             DiskRequest& request) const {
    using Segment = virtio_blk_discard_write_zeroes;
    constexpr size_t kMost = std::max(BlkLimits::kDiscardSegments, BlkLimits::kZeroSegments);
    const bool zeroes = request.kind == DiskRequest::Kind::kWriteZeroes;
    std::array<Segment, kMost> segments{};
    const uint64_t bytes = chain.readable_size() - kHeaderBytes;
    const uint64_t count = bytes / sizeof(Segment);
    const uint64_t most = zeroes ? BlkLimits::kZeroSegments : BlkLimits::kDiscardSegments;
    if (bytes % sizeof(Segment) != 0 || count == 0 || count > most)
        return refused("discard or write-zeroes with a wrong number of segments");
    chain.read(kHeaderBytes, std::as_writable_bytes(std::span(segments).first(count)));

    const uint32_t known_flags = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    const uint32_t most_sectors = zeroes ? BlkLimits::kZeroSectors : BlkLimits::kDiscardSectors;
    request.ranges.clear();
    for (const Segment& segment : std::span(segments).first(count)) {
        if ((segment.flags & ~known_flags) != 0)
            return unsupported("discard or write-zeroes with unknown flags");
        const uint64_t length = segment.num_sectors * BlkLimits::kSector;
        const auto offset = place(segment.sector, length, disk);
        if (segment.num_sectors > most_sectors || !offset)
            return refused("discard or write-zeroes outside of the disk or its limits");
        if (length > 0) request.ranges.push_back({*offset, length, segment.flags != 0});
    }
    return std::nullopt;
}

BlkAnswer BlkRequests::answer_to(const DiskRequest& request, const Status& status) {
    if (!status) {
        // The host's trouble, not the guest's fault.
        if (errors_.pass())
            log(LogLevel::kError, "{}: {}: {}", name_, name_of(request.kind),
                status.error().message);
        return {VIRTIO_BLK_S_IOERR, 0, nullptr};
    }
    const bool reads = request.kind == DiskRequest::Kind::kRead;
    return {VIRTIO_BLK_S_OK, reads ? request.length : 0, nullptr};
}

uint32_t BlkRequests::put(const DescriptorChain& chain, const BlkAnswer& answer) {
    if (chain.writable_size() == 0) return 0;
    const uint64_t status_at = chain.writable_size() - 1;
    chain.write(status_at, std::as_bytes(std::span(&answer.status, 1)));
    // 2.7.8.2: only what is filled without a gap may be counted.
    const uint64_t written = answer.data == status_at ? status_at + 1 : answer.data;
    return static_cast<uint32_t>(written);
}

}  // namespace drupe::virtio
