// Drives the device with packets, host events and time that the input chooses. One operation is one
// byte and its arguments; headers are near-valid so that the state machine is reached.
#include <algorithm>
#include <cstdint>
#include <string>

#include "base/codec.h"
#include "devices/virtio_vsock/testing/guest.h"

namespace {

using drupe::Decoder;
using drupe::Fd;
using drupe::Status;
using drupe::vsock::PacketHeader;
using drupe::vsock::testing::Guest;

PacketHeader take_header(Decoder& in) {
    // Few ports, so that packets meet connections; the rest is mostly right.
    PacketHeader header = Guest::header({in.get<uint8_t>() % 4U, 1022U + in.get<uint8_t>() % 4U},
                                        in.get<uint8_t>() % 9);
    if (const auto port = in.get<uint8_t>(); port % 4 == 0) header.dst_port = (1U << 30) + port / 4;
    const auto odd = in.get<uint8_t>();
    if ((odd & 1) != 0) header.flags = in.get<uint8_t>() % 8U;
    if ((odd & 2) != 0) header.buf_alloc = in.get<uint32_t>();
    if ((odd & 4) != 0) header.fwd_cnt = in.get<uint16_t>();
    if ((odd & 8) != 0) header.len = in.get<uint32_t>();
    if ((odd & 16) != 0) header.type = in.get<uint8_t>();
    if ((odd & 0xe0) == 0xe0) header.src_cid = in.get<uint8_t>();
    if ((odd & 0xe0) == 0xc0) header.dst_cid = in.get<uint64_t>();
    return header;
}

void host_event(Guest& guest, Decoder& in) {
    const auto what = in.get<uint8_t>();
    if (guest.accepted.empty()) return;
    Fd& end = guest.accepted[in.get<uint8_t>() % guest.accepted.size()];
    const std::string text(in.get<uint16_t>(), 'h');
    if (what % 5 == 0) Guest::drain(end, text.size());
    if (what % 5 == 1) (void)::send(end.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (what % 5 == 2) ::shutdown(end.get(), static_cast<int>(text.size() % 3));
    if (what % 5 == 3) {
        end = std::move(guest.accepted.back());
        guest.accepted.pop_back();
    }
}

void connect(Guest& guest, uint32_t port) {
    auto [ours, its] = Guest::pair();
    const Status started = guest.device.connect(port, std::move(its), [](const Status&) {});
    if (started && guest.accepted.size() < 64) guest.accepted.push_back(std::move(ours));
}

void corrupt_ring(Guest& guest, Decoder& in) {
    const bool tx = in.get<uint8_t>() % 2 == 0;
    guest.rx_intact = guest.rx_intact && tx;
    auto& driver = tx ? *guest.tx : *guest.rx;
    driver.set_descriptor(in.get<uint8_t>() % 128, in.get<uint32_t>(), in.get<uint32_t>(),
                          in.get<uint8_t>() % 8, in.get<uint8_t>());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Decoder in(std::string_view(reinterpret_cast<const char*>(data), size));
    Guest::Setup setup;
    const auto flags = in.get<uint8_t>();
    setup.event_idx = (flags & 1) != 0;
    setup.rx_buffers = flags / 16;
    setup.rx_buffer_bytes = (flags & 2) != 0 ? 45 : 4096;
    setup.options.max_connections = 8;
    setup.options.buf_alloc = 4096;
    setup.options.roomy = 2;
    setup.options.crowded_buf_alloc = 100;
    Guest guest(setup);
    guest.listen(1024, 6);
    guest.start();
    bool quiet = false;
    while (in.ok() && !in.rest().empty() && guest.host.resets.empty()) {
        switch (in.get<uint8_t>() % 10) {
            case 0:
            case 1:
            case 2: {
                const PacketHeader header = take_header(in);
                (void)guest.offer(header, std::string(in.get<uint16_t>() % 5000, 'g'));
                break;
            }
            case 3:
                host_event(guest, in);
                break;
            case 4:
                connect(guest, in.get<uint8_t>() % 4);
                break;
            case 5:
                guest.loop.advance(std::chrono::seconds(in.get<uint8_t>() % 8));
                break;
            case 6:
                guest.refill = !guest.refill;
                if (guest.rx->free_descriptors() > 4) guest.give_rx_buffers(in.get<uint8_t>() % 4);
                break;
            case 7:
                if (quiet) guest.device.resume();
                if (!quiet) guest.device.quiesce([] {});
                quiet = !quiet;
                break;
            case 8:
                guest.device.transport_reset();
                break;
            default:
                if (in.get<uint8_t>() % 8 == 0) corrupt_ring(guest, in);
                break;
        }
        if (in.get<uint8_t>() % 2 == 0) guest.run();
        if (guest.device.connections() > 8) __builtin_trap();
    }
    return 0;
}
