#pragma once

namespace drupe {

/// An interrupt line of one device. Edge-triggered: each trigger() is one interrupt. Callable from
/// any thread, never blocks. The real one is an irqfd; tests count.
class Interrupt {
  public:
    virtual ~Interrupt() = default;
    virtual void trigger() = 0;
};

}  // namespace drupe
