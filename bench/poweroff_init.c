/* The smallest init there is: the peer's guest does nothing but end. Static, so that an initramfs
 * holds it alone. */
#include <sys/reboot.h>

int main(void) {
    return reboot(RB_AUTOBOOT);
}
