"""Whether KVM works on this host, told by a guest of a few instructions.

That /dev/kvm can be opened says little. It may refuse to make a VM, hang, or run guests in a slow emulation
that no kernel ends in: where there is no hardware for it, a nested host may offer that. So a child process
runs a loop that takes a processor some milliseconds, and is given two seconds. What it found is kept in the
user's cache until the host is started again, or the device changes.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import struct
import sys

from bangerbuild.host import remembered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = "/dev/kvm"
SECONDS = 1.5
MOST_CPU_SECONDS = 0.2
"""Of the processor, for the same: thousands of times what it takes; what else runs does not count."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# linux/kvm.h
API_VERSION = 12
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_RUN = 0xAE80
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84
SREGS_BYTES = 312
KVM_EXIT_HLT = 5
EXIT_REASON_OFFSET = 8

CODE_ADDRESS = 0x1000
GUEST = bytes.fromhex(
    "66b900004000"  # mov ecx, 4 Mi
    "67e2fd"  # loop to itself
    "f4"  # hlt
)
"""Milliseconds for a processor in real mode; eight seconds where each instruction is emulated."""
CODES = {0: "", 1: "it can't be used", 2: "it runs no guest"}


def trouble(device: str = DEVICE, cache: str | None = None) -> str:
    """Why KVM can't be used, as text for a message; empty: it can.

    Args:
        device: the device's path.
        cache: a file in the user's cache that what was found is kept in; None: it is not kept.
    """
    try:
        found = os.stat(device)
        if not os.access(device, os.R_OK | os.W_OK):
            return f"{device} is not yours to use"
    except OSError:
        return f"there is no {device}"
    key = f"{_boot_id()} {device} {os.geteuid()} {found.st_rdev} {found.st_ino} {found.st_ctime_ns}"
    known = _remembered(cache, key)
    if known is not None:
        return known
    said = probe(lambda: run_guest(device))
    verdict = f"{device} can be opened, but {said}" if said else ""
    _remember(cache, key, verdict)
    return verdict


def cache_path() -> str | None:
    """Where what was found is kept; None: the user has no cache."""
    return remembered.directory("kvm")


def probe(run: Callable[[], int], seconds: float = SECONDS) -> str:
    """What is wrong, found out by a child process that is ended if it takes too long; empty: nothing.

    Args:
        run: gives one of `CODES`.
        seconds: how long it may take.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = run()
        finally:
            os._exit(code)
    fd = os.pidfd_open(pid)
    try:
        is_done = bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)
    if not is_done:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, os.WNOHANG)  # it is not waited for: what hangs in the kernel may never end
        return "a guest of a few instructions does not end"
    _, status, used = os.wait4(pid, 0)
    if used.ru_utime + used.ru_stime > MOST_CPU_SECONDS:
        return "a guest of a few instructions takes as long as an emulated one"
    return CODES.get(os.waitstatus_to_exitcode(status), CODES[2])


def run_guest(device: str) -> int:
    """Run the guest; one of `CODES`."""
    try:
        return _run_guest(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return 1


def _run_guest(kvm: int) -> int:
    import ctypes

    if fcntl.ioctl(kvm, KVM_GET_API_VERSION) != API_VERSION:
        return 1
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    memory = mmap.mmap(-1, 2 * CODE_ADDRESS)
    memory[CODE_ADDRESS : CODE_ADDRESS + len(GUEST)] = GUEST
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, struct.pack("IIQQQ", 0, 0, 0, len(memory), address))
    vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    state = mmap.mmap(vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE))
    segments = bytearray(fcntl.ioctl(vcpu, KVM_GET_SREGS, bytes(SREGS_BYTES)))
    struct.pack_into("QIH", segments, 0, 0, 0xFFFF, 0)  # the code segment: base, limit, selector
    fcntl.ioctl(vcpu, KVM_SET_SREGS, bytes(segments))
    registers = [0] * 18
    registers[16:] = CODE_ADDRESS, 2  # rip and rflags
    fcntl.ioctl(vcpu, KVM_SET_REGS, struct.pack("18Q", *registers))
    fcntl.ioctl(vcpu, KVM_RUN, 0)
    (reason,) = struct.unpack_from("I", state, EXIT_REASON_OFFSET)
    return 0 if reason == KVM_EXIT_HLT else 2


def _boot_id() -> str:
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _remembered(cache: str | None, key: str) -> str | None:
    data = None if cache is None else remembered.read(cache)
    if data is None:
        return None
    kept, _, verdict = data.decode("utf-8", "replace").partition("\n")
    return verdict.removesuffix("\n") if kept == key and verdict.endswith("\n") else None


def _remember(cache: str | None, key: str, verdict: str) -> None:
    if cache is None:
        return
    draft = f"{cache}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(cache), mode=0o700, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{key}\n{verdict}\n".encode())
        finally:
            os.close(fd)
        os.replace(draft, cache)
    except OSError:  # it is only found out again
        return
