#include "vmm/irq.h"

#include "base/fd.h"

namespace drupe {
namespace {

class IrqfdInterrupt final : public Interrupt {
  public:
    explicit IrqfdInterrupt(Fd eventfd) : eventfd_(std::move(eventfd)) {}
    void trigger() override { signal_eventfd(eventfd_.get()); }

  private:
    Fd eventfd_;
};

}  // namespace

Result<std::unique_ptr<Interrupt>> make_irqfd_interrupt(const KvmVm& kvm, uint32_t gsi) {
    TRY_ASSIGN(Fd eventfd, make_eventfd());
    TRY(kvm.irqfd(gsi, eventfd.get()));
    return std::unique_ptr<Interrupt>(std::make_unique<IrqfdInterrupt>(std::move(eventfd)));
}

}  // namespace drupe
