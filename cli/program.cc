#include <malloc.h>

#include "cli/command.h"

int main(int argc, char** argv) {
    ::mallopt(M_ARENA_MAX, 1);  // its threads wait more than they work
    drupe::cli::leave(drupe::cli::main_program(argc, argv));
}
