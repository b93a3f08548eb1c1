// A drupe-vmm that is only played: fake_monitor --config-fd N (api/engine/testing/fakes.h).

#include <cstdlib>

#include "api/engine/testing/fakes.h"

int main(int argc, char** argv) {
    if (argc != 3) return 125;
    drupe::engine::testing::run_fake_monitor(std::atoi(argv[2]));
}
