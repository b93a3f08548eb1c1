#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace drupe::vsock {

/// The context id of the host in every guest (virtio 1.2, 5.10.4).
inline constexpr uint64_t kHostCid = 2;

enum Op : uint16_t {
    kOpRequest = 1,
    kOpResponse = 2,
    kOpRst = 3,
    kOpShutdown = 4,
    kOpRw = 5,
    kOpCreditUpdate = 6,
    kOpCreditRequest = 7,
};

inline constexpr uint16_t kTypeStream = 1;

/// Flags of kOpShutdown: the sender won't receive, or won't send, any more.
inline constexpr uint32_t kShutdownReceive = 1;
inline constexpr uint32_t kShutdownSend = 2;
inline constexpr uint32_t kShutdownBoth = kShutdownReceive | kShutdownSend;

inline constexpr uint32_t kEventTransportReset = 0;

/// struct virtio_vsock_hdr (virtio 1.2, 5.10.6), without the padding at its end.
struct PacketHeader {
    uint64_t src_cid = 0;
    uint64_t dst_cid = 0;
    uint32_t src_port = 0;
    uint32_t dst_port = 0;
    uint32_t len = 0;  ///< Of the payload that follows.
    uint16_t type = kTypeStream;
    uint16_t op = 0;
    uint32_t flags = 0;
    uint32_t buf_alloc = 0;  ///< Bytes that the sender can buffer for this connection.
    uint32_t fwd_cnt = 0;    ///< Bytes that left that buffer so far, modulo 2^32.
};
inline constexpr size_t kHeaderBytes = 44;
static_assert(offsetof(PacketHeader, fwd_cnt) + sizeof(uint32_t) == kHeaderBytes);

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

// x86-64 and arm64 are little-endian, as the wire is.
inline PacketHeader decode_header(const HeaderBytes& bytes) {
    PacketHeader header;
    std::memcpy(static_cast<void*>(&header), bytes.data(), bytes.size());
    return header;
}
inline HeaderBytes encode_header(const PacketHeader& header) {
    HeaderBytes bytes;
    std::memcpy(bytes.data(), &header, bytes.size());
    return bytes;
}

}  // namespace drupe::vsock
