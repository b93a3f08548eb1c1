#include "cli/command.h"

int main(int argc, char** argv) {
    drupe::cli::leave(drupe::cli::main_program(argc, argv));
}
