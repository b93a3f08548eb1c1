#include "devices/serial/serial.h"

#include <linux/serial_reg.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace drupe {
namespace {

constexpr uint32_t kStateVersion = 1;
constexpr uint8_t kInterruptEnableBits = 0x0f;
constexpr uint8_t kModemControlBits = 0x1f;
constexpr uint8_t kFifoEnabled = 0xc0;  // in IIR: a 16550A with its FIFO on

/// In loopback the modem's outputs come back as its inputs.
uint8_t looped_modem_status(uint8_t control) {
    uint8_t status = 0;
    if ((control & UART_MCR_RTS) != 0) status |= UART_MSR_CTS;
    if ((control & UART_MCR_DTR) != 0) status |= UART_MSR_DSR;
    if ((control & UART_MCR_OUT1) != 0) status |= UART_MSR_RI;
    if ((control & UART_MCR_OUT2) != 0) status |= UART_MSR_DCD;
    return status;
}

}  // namespace

std::shared_ptr<Serial> Serial::create(EventLoop& loop, Fd out,
                                       std::unique_ptr<Interrupt> interrupt) {
    return std::shared_ptr<Serial>(new Serial(loop, std::move(out), std::move(interrupt)));
}

Serial::Serial(EventLoop& loop, Fd out, std::unique_ptr<Interrupt> interrupt)
    : loop_(loop), interrupt_(std::move(interrupt)), out_(std::move(out)) {}

void Serial::read(uint64_t offset, std::span<std::byte> out) {
    std::ranges::fill(out, std::byte{0});
    if (out.size() != 1 || offset >= kPorts) return;  // the registers are bytes
    const MutexLock lock(mutex_);
    out[0] = static_cast<std::byte>(read_register(offset));
    update_interrupt();
}

void Serial::write(uint64_t offset, std::span<const std::byte> data) {
    if (data.size() != 1 || offset >= kPorts) return;
    bool wake = false;
    {
        const MutexLock lock(mutex_);
        write_register(offset, std::to_integer<uint8_t>(data[0]));
        update_interrupt();
        wake = !buffer_.empty() && !std::exchange(carrying_, true);
    }
    if (wake) loop_.post([this] { carry(); });
}

uint8_t Serial::read_register(uint64_t offset) {
    Registers& r = registers_;
    const bool divisor_latch = (r.line_control & UART_LCR_DLAB) != 0;
    switch (offset) {
        case UART_RX:
            if (divisor_latch) return static_cast<uint8_t>(r.divisor);
            r.received = false;
            return r.receive_buffer;
        case UART_IER:
            return divisor_latch ? static_cast<uint8_t>(r.divisor >> 8) : r.interrupt_enable;
        case UART_IIR: {
            const uint8_t id = interrupt_id();
            if (id == UART_IIR_THRI) r.transmitter_empty = false;  // reading it acknowledges it
            return static_cast<uint8_t>(id | (r.fifo ? kFifoEnabled : 0));
        }
        case UART_LCR:
            return r.line_control;
        case UART_MCR:
            return r.modem_control;
        case UART_LSR: {
            uint8_t status = UART_LSR_THRE | UART_LSR_TEMT;
            if (r.received) status |= UART_LSR_DR;
            if (std::exchange(r.overrun, false)) status |= UART_LSR_OE;
            return status;
        }
        case UART_MSR:
            if ((r.modem_control & UART_MCR_LOOP) != 0) return looped_modem_status(r.modem_control);
            return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;  // somebody is always there
        default:
            return r.scratch;
    }
}

void Serial::write_register(uint64_t offset, uint8_t value) {
    Registers& r = registers_;
    const bool divisor_latch = (r.line_control & UART_LCR_DLAB) != 0;
    switch (offset) {
        case UART_TX:
            if (divisor_latch) {
                r.divisor = static_cast<uint16_t>((r.divisor & 0xff00) | value);
            } else {
                transmit(value);
            }
            break;
        case UART_IER:
            if (divisor_latch) {
                r.divisor = static_cast<uint16_t>((r.divisor & 0x00ff) | value << 8);
                break;
            }
            // Enabling it with an empty transmitter raises it at once, as on the real thing.
            if ((value & ~r.interrupt_enable & UART_IER_THRI) != 0) r.transmitter_empty = true;
            r.interrupt_enable = value & kInterruptEnableBits;
            break;
        case UART_FCR:
            r.fifo = (value & UART_FCR_ENABLE_FIFO) != 0;
            if ((value & UART_FCR_CLEAR_RCVR) != 0) r.received = false;
            break;
        case UART_LCR:
            r.line_control = value;
            break;
        case UART_MCR:
            r.modem_control = value & kModemControlBits;
            break;
        case UART_SCR:
            r.scratch = value;
            break;
        default:
            break;  // LSR and MSR are read-only
    }
}

void Serial::transmit(uint8_t byte) {
    Registers& r = registers_;
    if ((r.modem_control & UART_MCR_LOOP) != 0) {
        r.overrun = r.overrun || r.received;
        r.receive_buffer = byte;
        r.received = true;
    } else if (buffer_.size() < kBufferBytes) {
        buffer_.push_back(static_cast<char>(byte));
    } else {
        ++dropped_;
    }
    r.transmitter_empty = true;  // and gone it is
}

uint8_t Serial::interrupt_id() const {
    const Registers& r = registers_;
    if (r.received && (r.interrupt_enable & UART_IER_RDI) != 0) return UART_IIR_RDI;
    if (r.transmitter_empty && (r.interrupt_enable & UART_IER_THRI) != 0) return UART_IIR_THRI;
    return UART_IIR_NO_INT;
}

void Serial::update_interrupt() {
    const bool high = interrupt_id() != UART_IIR_NO_INT;
    if (high && !line_high_) interrupt_->trigger();
    line_high_ = high;
}

void Serial::carry() {
    {
        const MutexLock lock(mutex_);
        carrying_ = false;
    }
    writable_.reset();
    const bool took_all = flush();
    {
        const MutexLock lock(mutex_);
        if (buffer_.empty() || std::exchange(carrying_, true)) return;
    }
    // One buffer's worth a turn: a flood doesn't keep the loop from its other work.
    if (took_all) {
        loop_.post([this] { carry(); });
    } else {
        writable_ = loop_.on_writable(out_.get(), [this] { carry(); });
    }
}

bool Serial::flush() {
    // The guest may go on writing while this thread is in write(2).
    std::string bytes;
    {
        const MutexLock lock(mutex_);
        bytes.swap(buffer_);
    }
    size_t done = 0;
    while (done < bytes.size() && out_.valid()) {
        const ssize_t n = ::write(out_.get(), bytes.data() + done, bytes.size() - done);
        if (n >= 0) {
            done += static_cast<size_t>(n);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            // Nobody reads any more: from here on everything is dropped as it comes.
            writable_.reset();
            out_.reset();
        }
    }
    bytes.erase(0, done);
    if (bytes.empty()) return true;

    const MutexLock lock(mutex_);
    if (!out_.valid()) {
        dropped_ += bytes.size();
        return true;
    }
    // What the guest wrote meanwhile comes behind, as far as the bound allows.
    const size_t room = std::min(buffer_.size(), kBufferBytes - bytes.size());
    dropped_ += buffer_.size() - room;
    bytes.append(buffer_, 0, room);
    buffer_ = std::move(bytes);
    return false;
}

uint64_t Serial::dropped() const {
    const MutexLock lock(mutex_);
    return dropped_;
}

void Serial::save(Encoder& out) const {
    const MutexLock lock(mutex_);
    const Registers& r = registers_;
    out.put(kStateVersion);
    out.put(r.interrupt_enable);
    out.put(r.line_control);
    out.put(r.modem_control);
    out.put(r.scratch);
    out.put(r.divisor);
    out.put(static_cast<uint8_t>(r.fifo));
    out.put(static_cast<uint8_t>(r.transmitter_empty));
    out.put(static_cast<uint8_t>(r.overrun));
    out.put(static_cast<uint8_t>(r.received));
    out.put(r.receive_buffer);
}

Status Serial::restore(Decoder& in) {
    const auto version = in.get<uint32_t>();
    Registers r;
    r.interrupt_enable = in.get<uint8_t>() & kInterruptEnableBits;
    r.line_control = in.get<uint8_t>();
    r.modem_control = in.get<uint8_t>() & kModemControlBits;
    r.scratch = in.get<uint8_t>();
    r.divisor = in.get<uint16_t>();
    r.fifo = in.get<uint8_t>() != 0;
    r.transmitter_empty = in.get<uint8_t>() != 0;
    r.overrun = in.get<uint8_t>() != 0;
    r.received = in.get<uint8_t>() != 0;
    r.receive_buffer = in.get<uint8_t>();
    if (!in.at_end() || version != kStateVersion)
        return Error{ErrorCode::kInvalid, "state of the serial port is malformed"};
    const MutexLock lock(mutex_);
    registers_ = r;
    line_high_ = false;
    update_interrupt();  // an edge may have been lost with the machine this comes from
    return ok();
}

}  // namespace drupe
