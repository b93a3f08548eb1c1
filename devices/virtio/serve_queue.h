#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "devices/virtio/device.h"
#include "devices/virtio/virtqueue.h"

namespace drupe::virtio {

/// The loop of a device that answers each request at once: pops what is there, calls serve for each
/// chain, gives it back with the length that serve returned, and interrupts once if the driver
/// wants it. Does at most one ring's worth of chains in a call and asks to be called again for the
/// rest. Returns false if the ring can't be trusted any more; the host was told.
bool serve_queue(VirtQueue& queue, size_t index, DeviceHost& host,
                 const std::function<uint32_t(const DescriptorChain&)>& serve);

}  // namespace drupe::virtio
