"""How much memory a program took at most."""

from __future__ import annotations

PRINT_PEAK_KIB = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""
"""Python at a program's end. What getrusage(2) says begins with what the parent took (proc_pid_status(5))."""
