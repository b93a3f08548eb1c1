#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <functional>

#include "devices/virtio/device.h"
#include "devices/virtio/testing/fake_driver.h"

namespace drupe::virtio::testing {

/// RAM that is mapped once in a fuzz target's life, 2 MiB at address 0.
[[nodiscard]] const GuestMemory& fuzz_memory();

/// Writes what a hostile driver would: descriptors, ring indices, bytes anywhere in the first 64
/// KiB.
void fuzz_ring(FuzzedDataProvider& input, FakeDriver& driver, const GuestMemory& memory);

/// A hostile driver in front of a device of which it enables one queue: rings and requests of the
/// input's choice, kicks, resets, pauses, saves and restores. `request`, if any, adds a nearly
/// well-formed request, to get deeper than noise does. Then `honest` gets a device that was reset
/// and activated again, which must serve.
void fuzz_device(FuzzedDataProvider& input, VirtioDevice& device,
                 const std::function<void(FakeDriver&)>& request,
                 const std::function<void(FakeDriver&)>& honest, size_t queue = 0);

}  // namespace drupe::virtio::testing
