#pragma once

#include <asm/bootparam.h>

#include <cstring>
#include <vector>

#include "base/fd.h"
#include "vmm/testing/memfd.h"

namespace drupe::testing {

/// Makes bzImages for tests: a right one unless a field is changed before file().
struct BzImageBuilder {
    setup_header header{};
    std::vector<std::byte> payload;
    static constexpr size_t kSetupSectors = 1;

    BzImageBuilder() : payload(0x3000, std::byte{0xcc}) {
        header.setup_sects = kSetupSectors;
        header.boot_flag = 0xaa55;
        header.jump = 0x6aeb;  // the header ends at 0x202 + 0x6a
        header.header = 0x53726448;
        header.version = 0x20f;
        header.loadflags = LOADED_HIGH;
        header.initrd_addr_max = 0x7fffffff;
        header.kernel_alignment = 0x200000;
        header.relocatable_kernel = 1;
        header.xloadflags = XLF_KERNEL_64;
        header.cmdline_size = 2047;
        header.pref_address = 0x1000000;
        header.init_size = 0x10000;
    }

    [[nodiscard]] std::vector<std::byte> bytes() const {
        std::vector<std::byte> out((kSetupSectors + 1) * 512);
        std::memcpy(out.data() + 0x1f1, &header, sizeof header);
        out.insert(out.end(), payload.begin(), payload.end());
        return out;
    }
    [[nodiscard]] Fd file() const { return make_memfd(bytes()); }
};

}  // namespace drupe::testing
