#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace drupe {

/// KVM's binary statistics of one vCPU (Documentation/virt/kvm/api.rst, 4.133): the scalar ones,
/// histograms left out. Reading is one pread.
class KvmStats {
  public:
    /// Reads the descriptions once.
    [[nodiscard]] static Result<KvmStats> create(Fd fd);

    /// Adds each counter to the sum under its name.
    [[nodiscard]] Status add_to(std::map<std::string, uint64_t>& sums) const;

  private:
    struct Counter {
        std::string name;
        size_t offset;  // in the data block
    };
    KvmStats(Fd fd, uint64_t data_offset, size_t data_size, std::vector<Counter> counters)
        : fd_(std::move(fd)),
          data_offset_(data_offset),
          data_size_(data_size),
          counters_(std::move(counters)) {}

    Fd fd_;
    uint64_t data_offset_;
    size_t data_size_;
    std::vector<Counter> counters_;
};

}  // namespace drupe
