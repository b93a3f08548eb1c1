#include "devices/virtio/serve_queue.h"

#include <utility>

namespace drupe::virtio {
namespace {

/// Up to one ring's worth of chains. True if the queue was empty in the end.
Result<bool> serve_batch(VirtQueue& queue,
                         const std::function<uint32_t(const DescriptorChain&)>& serve) {
    uint32_t budget = queue.size();
    queue.disable_notifications();
    do {
        for (;;) {
            if (budget == 0) return false;
            --budget;
            TRY_ASSIGN(std::optional<DescriptorChain> chain, queue.pop());
            if (!chain) break;
            const uint32_t written = serve(*chain);
            queue.complete(std::move(*chain), written);
        }
    } while (queue.enable_notifications());
    return true;
}

}  // namespace

bool serve_queue(VirtQueue& queue, size_t index, DeviceHost& host,
                 const std::function<uint32_t(const DescriptorChain&)>& serve) {
    const uint64_t faults = queue.faults();
    const Result<bool> emptied = serve_batch(queue, serve);
    if (queue.faults() != faults) host.guest_fault(queue.last_fault());
    if (queue.needs_interrupt()) host.used_buffers();
    if (!emptied) {
        host.needs_reset(emptied.error().message);
        return false;
    }
    if (!emptied.value()) host.notify_later(index);
    return true;
}

}  // namespace drupe::virtio
