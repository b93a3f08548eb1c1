"""Whole machines as processes: Drupe's, and QEMU's microvm with the same kernel and as much memory."""

import os
import re
import subprocess
import sys
import time

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.join(REPO, "build/release/bin")
KERNEL = os.path.join(REPO, "build/kernel/vmlinux")
# Of KVM's counters, what isn't an exit that the monitor or the guest's kernel could avoid: interrupts of the host,
# and page faults that KVM answers.
NOT_OURS = ("irq_exits", "nmi_exits", "pf_fixed", "pf_spurious")


def drupe_argv(*options):
    return [os.path.join(BIN, "drupe"), "run", "--rm", *options, "busybox", "true"]


def qemu_argv():
    return ["qemu-system-x86_64", "-M", "microvm,acpi=off,rtc=off,pic=on,pit=on,isa-serial=off",
            "-accel", "kvm", "-cpu", "host", "-m", "512", "-smp", "1", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-kernel", KERNEL,
            "-initrd", os.path.join(BIN, "poweroff.cpio"),
            "-append", "panic=-1 reboot=t tsc=reliable no_timer_check cryptomgr.notests "
                       "rcupdate.rcu_expedited=1 noreplace-smp swiotlb=noforce quiet loglevel=0 8250.nr_uarts=0"]


def settle():
    """What Drupe does after it has answered is nobody else's time."""
    time.sleep(0.3)


def run(argv):
    """Seconds of wall clock, and what it said on standard error."""
    start = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=300)
    took = time.monotonic() - start
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(argv[:3])}... exited with {done.returncode}: {done.stderr[-2000:]}")
    settle()
    return took, done.stderr


def phases(text):
    """Milliseconds by phase, and KVM's counts, from what --timing prints."""
    times = {m[1].strip(): float(m[2]) for m in re.finditer(r"^\s+(\S.*?)\s+([\d.]+) ms$", text, re.M)}
    counts = {m[1]: int(m[2]) for m in re.finditer(r"^\s+([a-z_]+\.[a-z_]+)\s+(\d+)$", text, re.M)}
    return times, counts


def exits(counts):
    """Of the counts of --timing up to the workload, those that the monitor or the guest's kernel could avoid; and
    all of them by name."""
    found = {name.split(".", 1)[1]: value for name, value in counts.items() if name.startswith("workload_started.")}
    return found["exits"] - sum(found.get(name, 0) for name in NOT_OURS), found
