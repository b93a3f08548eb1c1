#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "devices/virtio/device.h"

namespace drupe::virtio {

/// Fills the whole span with random bytes.
using EntropySource = std::function<Status(std::span<std::byte>)>;

/// The host kernel's, by getrandom(2).
[[nodiscard]] EntropySource system_entropy();

/// An entropy device (virtio 1.2, 5.4): one queue whose writable buffers it fills with random
/// bytes, at most 64 KiB of each. It keeps no state beyond its queue.
[[nodiscard]] std::shared_ptr<VirtioDevice> make_virtio_rng(std::string name,
                                                            EntropySource entropy);

}  // namespace drupe::virtio
