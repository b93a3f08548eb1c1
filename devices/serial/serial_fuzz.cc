#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>

#include <array>

#include "base/check.h"
#include "devices/serial/serial.h"
#include "devices/virtio/testing/inline_loop.h"

using namespace drupe;

namespace {

struct NoInterrupt final : public Interrupt {
    void trigger() override {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider input(data, size);
    virtio::testing::InlineLoop loop;
    const bool gone = input.ConsumeBool();
    const auto serial = Serial::create(loop, gone ? Fd() : open_file("/dev/null", O_WRONLY).value(),
                                       std::make_unique<NoInterrupt>());
    while (input.remaining_bytes() > 0) {
        std::array<std::byte, 8> bytes{};
        const auto width = input.ConsumeIntegralInRange<size_t>(1, 2);
        const auto span = std::span(bytes).first(width);
        const auto offset = input.ConsumeIntegralInRange<uint64_t>(0, 8);
        switch (input.ConsumeIntegralInRange(0, 8)) {
            case 0: {
                Encoder state;
                serial->save(state);
                Decoder in(state.bytes());
                DRUPE_CHECK(serial->restore(in).has_value());
                break;
            }
            case 1: {
                const std::string state = input.ConsumeRandomLengthString(32);
                Decoder in(state);
                (void)serial->restore(in).has_value();
                break;
            }
            case 2:
            case 3:
                serial->read(offset, span);
                break;
            case 4:
                loop.deliver();
                break;
            default:
                span[0] = std::byte{input.ConsumeIntegral<uint8_t>()};
                serial->write(offset, span);
                break;
        }
    }
    loop.deliver();
    DRUPE_CHECK(gone || serial->dropped() == 0);
    return 0;
}
