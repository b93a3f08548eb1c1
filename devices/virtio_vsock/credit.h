#pragma once

#include <algorithm>
#include <cstdint>

namespace drupe::vsock {

/// Both directions' credit of one connection (virtio 1.2, 5.10.6.3). Counters are bytes modulo
/// 2^32. "Peer" is the guest, whose figures are checked and never believed.
class Credit {
  public:
    explicit Credit(uint32_t buf_alloc) : buf_alloc_(buf_alloc) {}

    /// The figures in a header from the peer. False if they are impossible: it claims to have taken
    /// bytes that weren't sent, or takes some back.
    [[nodiscard]] bool update_peer(uint32_t buf_alloc, uint32_t fwd_cnt) {
        const uint32_t in_flight = tx_cnt_ - fwd_cnt;
        if (in_flight > tx_cnt_ - peer_fwd_cnt_) return false;
        peer_fwd_cnt_ = fwd_cnt;
        peer_buf_alloc_ = std::min(buf_alloc, kMaxPeerBuffer);
        return true;
    }
    /// How many bytes may be sent to the peer now.
    [[nodiscard]] uint32_t available() const {
        const uint32_t in_flight = tx_cnt_ - peer_fwd_cnt_;
        return peer_buf_alloc_ > in_flight ? peer_buf_alloc_ - in_flight : 0;
    }
    void sent(uint32_t bytes) { tx_cnt_ += bytes; }

    /// Payload from the peer. False if it had no credit for that many bytes.
    [[nodiscard]] bool received(uint32_t bytes) {
        if (bytes > buf_alloc_ - (rx_cnt_ - fwd_cnt_)) return false;
        rx_cnt_ += bytes;
        return true;
    }
    /// That many of the received bytes are off our hands.
    void forwarded(uint32_t bytes) { fwd_cnt_ += bytes; }

    /// The peer lacks half of its credit only because it hasn't been told of the room there is.
    [[nodiscard]] bool update_due() const { return fwd_cnt_ - told_fwd_cnt_ >= buf_alloc_ / 2; }
    void told() { told_fwd_cnt_ = fwd_cnt_; }

    [[nodiscard]] uint32_t buf_alloc() const { return buf_alloc_; }
    [[nodiscard]] uint32_t fwd_cnt() const { return fwd_cnt_; }

  private:
    // Keeps what is in flight far from where 32-bit counters become ambiguous.
    static constexpr uint32_t kMaxPeerBuffer = 1U << 30;

    uint32_t buf_alloc_;
    uint32_t rx_cnt_ = 0;
    uint32_t fwd_cnt_ = 0;
    uint32_t told_fwd_cnt_ = 0;
    uint32_t peer_buf_alloc_ = 0;
    uint32_t peer_fwd_cnt_ = 0;
    uint32_t tx_cnt_ = 0;
};

}  // namespace drupe::vsock
