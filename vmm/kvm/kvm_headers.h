#pragma once

// The only way to include <linux/kvm.h>. Its __DECLARE_FLEX_ARRAY (Linux 6.1's, in Debian 12) puts
// an empty struct before the array, which has a size of 1 in C++: sizeof(kvm_cpuid2) becomes 12,
// and with it every ioctl number made from such a struct is wrong (EINVAL, ENOTTY).
#include <linux/stddef.h>
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(T, N) T N[0]  // NOLINT(bugprone-reserved-identifier): the kernel's own
#include <linux/kvm.h>

static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8 && sizeof(kvm_msr_list) == 4);
