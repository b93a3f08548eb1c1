#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/codec.h"
#include "base/event_loop.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/result.h"
#include "vmm/bus.h"
#include "vmm/interrupt.h"

namespace drupe {

/// A 16550A UART that a guest kernel can use as its console: output only, infinitely fast. The
/// guest writes on vCPU threads into a bounded buffer, the loop carries it to a descriptor. What
/// doesn't fit, because the reader is slow or gone, is dropped and counted: the guest never waits
/// and the host's memory never grows.
class Serial final : public BusDevice {
  public:
    static constexpr uint64_t kPort = 0x3f8;  ///< COM1.
    static constexpr uint64_t kPorts = 8;
    static constexpr uint32_t kIrq = 4;
    static constexpr size_t kBufferBytes = 64 << 10;

    /// out must be non-blocking, or a regular file; the process ignores SIGPIPE. The loop outlives
    /// the device and doesn't run when it is destroyed.
    [[nodiscard]] static std::shared_ptr<Serial> create(EventLoop& loop, Fd out,
                                                        std::unique_ptr<Interrupt> interrupt);

    void read(uint64_t offset, std::span<std::byte> out) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;

    /// Carries what the buffer holds to the descriptor; false if that takes no more for now. On the
    /// loop, or when it has ended: the last words before the VM goes.
    bool flush();
    /// Bytes that were dropped. Any thread.
    [[nodiscard]] uint64_t dropped() const;

    /// With vCPUs paused there is nothing to quiesce: the guest's view is in the registers. What is
    /// still in the buffer is the host's and not saved.
    void save(Encoder& out) const;
    [[nodiscard]] Status restore(Decoder& in);

  private:
    struct Registers {
        uint8_t interrupt_enable = 0;
        uint8_t line_control = 0;
        uint8_t modem_control = 0;
        uint8_t scratch = 0;
        uint16_t divisor = 0;
        bool fifo = false;
        bool transmitter_empty = false;  // the THRE interrupt is pending
        bool overrun = false;            // a byte was lost in loopback
        bool received = false;           // loopback only: one byte waits
        uint8_t receive_buffer = 0;
    };

    Serial(EventLoop& loop, Fd out, std::unique_ptr<Interrupt> interrupt);
    uint8_t read_register(uint64_t offset) DRUPE_REQUIRES(mutex_);
    void write_register(uint64_t offset, uint8_t value) DRUPE_REQUIRES(mutex_);
    void transmit(uint8_t byte) DRUPE_REQUIRES(mutex_);
    [[nodiscard]] uint8_t interrupt_id() const DRUPE_REQUIRES(mutex_);
    void update_interrupt() DRUPE_REQUIRES(mutex_);
    void carry();

    EventLoop& loop_;
    const std::unique_ptr<Interrupt> interrupt_;

    mutable Mutex mutex_;
    Registers registers_ DRUPE_GUARDED_BY(mutex_);
    bool line_high_ DRUPE_GUARDED_BY(mutex_) = false;
    std::string buffer_ DRUPE_GUARDED_BY(mutex_);
    bool carrying_ DRUPE_GUARDED_BY(mutex_) = false;  // the loop will look at the buffer
    uint64_t dropped_ DRUPE_GUARDED_BY(mutex_) = 0;

    // The loop's.
    Fd out_;
    EventLoop::Watch writable_;
};

}  // namespace drupe
