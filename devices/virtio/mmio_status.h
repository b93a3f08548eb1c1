#pragma once

#include <linux/virtio_config.h>
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include <cstdint>

// Feature and status bits that the files of the virtio-mmio transport share.
namespace drupe::virtio {

constexpr uint64_t feature(int bit) {
    return uint64_t{1} << bit;
}
constexpr uint64_t kVersion1 = feature(VIRTIO_F_VERSION_1);
constexpr uint64_t kEventIdx = feature(VIRTIO_RING_F_EVENT_IDX);
constexpr uint64_t kIndirect = feature(VIRTIO_RING_F_INDIRECT_DESC);

constexpr uint32_t kAcknowledge = VIRTIO_CONFIG_S_ACKNOWLEDGE;
constexpr uint32_t kDriver = VIRTIO_CONFIG_S_DRIVER;
constexpr uint32_t kFeaturesOk = VIRTIO_CONFIG_S_FEATURES_OK;
constexpr uint32_t kDriverOk = VIRTIO_CONFIG_S_DRIVER_OK;
constexpr uint32_t kFailed = VIRTIO_CONFIG_S_FAILED;
constexpr uint32_t kNeedsReset = VIRTIO_CONFIG_S_NEEDS_RESET;
constexpr uint32_t kDriversBits = kAcknowledge | kDriver | kFeaturesOk | kDriverOk | kFailed;

/// The driver's steps come in this order (3.1.1), several at a time or one by one.
inline bool in_order(uint32_t status) {
    const auto requires_bit = [status](uint32_t bit, uint32_t earlier) {
        return (status & bit) == 0 || (status & earlier) != 0;
    };
    return requires_bit(kDriver, kAcknowledge) && requires_bit(kFeaturesOk, kDriver) &&
           requires_bit(kDriverOk, kFeaturesOk);
}

}  // namespace drupe::virtio
