#include "devices/serial/serial.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/serial_reg.h>

#include <array>
#include <atomic>
#include <csignal>
#include <string_view>
#include <thread>

namespace drupe {
namespace {

class CountingInterrupt final : public Interrupt {
  public:
    explicit CountingInterrupt(int& count) : count_(count) {}
    void trigger() override { ++count_; }

  private:
    int& count_;
};

struct SerialTest : public ::testing::Test {
    SerialTest() {
        ::signal(SIGPIPE, SIG_IGN);
        EXPECT_TRUE(set_nonblocking(pipe.second.get(), true));
        EXPECT_TRUE(set_nonblocking(pipe.first.get(), true));
        serial = make();
    }
    std::shared_ptr<Serial> make() {
        return Serial::create(*loop, std::move(pipe.second.duplicate()).value(),
                              std::make_unique<CountingInterrupt>(interrupts));
    }
    void out(uint64_t offset, uint8_t value) {
        const std::array<std::byte, 1> bytes{std::byte{value}};
        serial->write(offset, bytes);
    }
    uint8_t in(uint64_t offset) {
        std::array<std::byte, 1> bytes{};
        serial->read(offset, bytes);
        return std::to_integer<uint8_t>(bytes[0]);
    }
    void print(std::string_view text) {
        for (const char c : text) out(UART_TX, static_cast<uint8_t>(c));
    }
    /// Runs the loop until everything that was posted before has run.
    void run_loop() {
        loop->post([this] { loop->stop(); });
        loop->run();
        loop = nullptr;
    }
    std::string received() {
        std::string all;
        std::array<char, 4096> bytes;
        for (ssize_t n; (n = ::read(pipe.first.get(), bytes.data(), bytes.size())) > 0;)
            all.append(bytes.data(), static_cast<size_t>(n));
        return all;
    }

    FdPair pipe = std::move(make_pipe()).value();
    std::unique_ptr<EventLoop> owned_loop = make_event_loop();
    EventLoop* loop = owned_loop.get();
    int interrupts = 0;
    std::shared_ptr<Serial> serial;
};

TEST_F(SerialTest, WhatTheGuestPrintsComesOut) {
    print("Linux version 6.12\n");
    run_loop();
    EXPECT_EQ(received(), "Linux version 6.12\n");
    print("late words\n");
    serial->flush();  // the loop has ended
    EXPECT_EQ(received(), "late words\n");
    EXPECT_EQ(serial->dropped(), 0U);
}

TEST_F(SerialTest, PassesTheKernelsAutoconfiguration) {
    out(UART_IER, 0);
    EXPECT_EQ(in(UART_IER), 0);
    out(UART_IER, 0xff);
    EXPECT_EQ(in(UART_IER), 0x0f);
    out(UART_IER, 0);
    out(UART_MCR, UART_MCR_LOOP | 0x0a);
    EXPECT_EQ(in(UART_MSR)&0xf0, 0x90);
    out(UART_MCR, 0);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    EXPECT_EQ(in(UART_IIR) >> 6, 3);  // a 16550A
    out(UART_SCR, 0x5a);
    EXPECT_EQ(in(UART_SCR), 0x5a);
    out(UART_LCR, UART_LCR_DLAB);
    out(UART_DLL, 0x0c);
    out(UART_DLM, 0x01);
    EXPECT_EQ(in(UART_DLL), 0x0c);
    EXPECT_EQ(in(UART_DLM), 0x01);
    out(UART_LCR, UART_LCR_WLEN8);
    EXPECT_EQ(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
    run_loop();
    EXPECT_EQ(received(), "");  // nothing of that was output
}

TEST_F(SerialTest, TransmitterEmptyInterruptsOnceUntilItIsAcknowledged) {
    out(UART_IER, UART_IER_THRI);
    EXPECT_EQ(interrupts, 1);
    EXPECT_EQ(in(UART_IIR)&0x0f, UART_IIR_THRI);
    EXPECT_EQ(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
    print("0123456789abcdef");
    EXPECT_EQ(interrupts, 2);
    EXPECT_EQ(in(UART_IIR)&0x0f, UART_IIR_THRI);
    out(UART_IER, 0);
    print("x");
    EXPECT_EQ(interrupts, 2);
}

TEST_F(SerialTest, LoopbackBytesComeBackAndNotOut) {
    out(UART_IER, UART_IER_RDI);
    out(UART_MCR, UART_MCR_LOOP);
    out(UART_TX, 'a');
    EXPECT_EQ(interrupts, 1);
    EXPECT_EQ(in(UART_IIR)&0x0f, UART_IIR_RDI);
    EXPECT_EQ(in(UART_LSR) & (UART_LSR_DR | UART_LSR_OE), UART_LSR_DR);
    out(UART_TX, 'b');
    EXPECT_EQ(in(UART_LSR)&UART_LSR_OE, UART_LSR_OE);
    EXPECT_EQ(in(UART_RX), 'b');
    EXPECT_EQ(in(UART_LSR)&UART_LSR_DR, 0);
    run_loop();
    EXPECT_EQ(received(), "");
}

TEST_F(SerialTest, Case17AFloodWithASlowReaderIsDroppedAndCounted) {
    constexpr uint64_t kFlood = 1 << 20;
    for (uint64_t i = 0; i < kFlood; ++i) out(UART_TX, 'x');
    EXPECT_EQ(serial->dropped(), kFlood - Serial::kBufferBytes);
    run_loop();  // the pipe takes its 64 KiB
    const uint64_t got = received().size();
    serial->flush();
    EXPECT_EQ(got + received().size() + serial->dropped(), kFlood);
    print("still alive");
    serial->flush();
    EXPECT_EQ(received(), "still alive");
}

TEST_F(SerialTest, Case17AFloodDuringAFlushStaysWithinTheBuffer) {
    while (serial->dropped() == 0) {
        // Nobody reads: the pipe fills, then the buffer.
        serial->flush();
        for (size_t i = 0; i < Serial::kBufferBytes; ++i) out(UART_TX, 'x');
    }
    std::atomic<bool> done = false;
    std::thread vcpu([&] {
        for (int i = 0; i < 300'000; ++i) out(UART_TX, 'x');
        done = true;
    });
    while (!done) serial->flush();
    vcpu.join();
    received();
    uint64_t buffered = 0;
    for (bool all = false; !all; buffered += received().size()) all = serial->flush();
    EXPECT_LE(buffered, Serial::kBufferBytes);
}

TEST_F(SerialTest, Case17ASlowReaderGetsTheRestLater) {
    ASSERT_GE(::fcntl(pipe.second.get(), F_SETPIPE_SZ, 4096), 4096);
    std::string text;
    for (int i = 0; i < 20'000; ++i) text.push_back(static_cast<char>('a' + i % 26));
    print(text);
    std::string got;
    const auto reader = owned_loop->on_readable(pipe.first.get(), [&] {
        got += received();
        if (got.size() == text.size()) owned_loop->stop();
    });
    owned_loop->run();
    EXPECT_EQ(got, text);
    EXPECT_EQ(serial->dropped(), 0U);
}

TEST_F(SerialTest, Case17AClosedReaderIsNoTroubleAndNoSpin) {
    pipe.first.reset();
    pipe.second.reset();
    print("to nobody");
    run_loop();
    EXPECT_EQ(serial->dropped(), 9U);
    for (int i = 0; i < 100'000; ++i) out(UART_TX, 'x');
    serial->flush();
    EXPECT_EQ(serial->dropped(), 100'009U);
}

TEST_F(SerialTest, Case19OddWidthsAndOffsetsAreIgnored) {
    std::array<std::byte, 8> wide;
    wide.fill(std::byte{'w'});
    for (const size_t size : {2, 3, 4, 8}) {
        serial->write(UART_TX, std::span(wide).first(size));
        serial->read(UART_LSR, std::span(wide).first(size));
        EXPECT_EQ(wide[0], std::byte{0});
        wide.fill(std::byte{'w'});
    }
    serial->write(100, std::span(wide).first(1));
    run_loop();
    EXPECT_EQ(received(), "");
}

TEST_F(SerialTest, ARestoredPortLooksTheSameToItsDriver) {
    out(UART_LCR, UART_LCR_WLEN8);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_SCR, 7);
    out(UART_IER, UART_IER_THRI);
    Encoder state;
    serial->save(state);
    interrupts = 0;
    serial = make();
    Decoder saved(state.bytes());
    ASSERT_TRUE(serial->restore(saved));
    EXPECT_EQ(interrupts, 1);  // the pending one
    EXPECT_EQ(in(UART_LCR), UART_LCR_WLEN8);
    EXPECT_EQ(in(UART_SCR), 7);
    EXPECT_EQ(in(UART_IIR), 0xc0 | UART_IIR_THRI);
    Encoder again;
    serial->save(again);
    for (size_t cut = 0; cut < state.bytes().size(); ++cut) {
        Decoder torn(std::string_view(state.bytes()).substr(0, cut));
        EXPECT_FALSE(serial->restore(torn)) << cut;
    }
    Encoder unchanged;
    serial->save(unchanged);
    EXPECT_EQ(unchanged.bytes(), again.bytes());
}

}  // namespace
}  // namespace drupe
