"""A tree of 20,000 files that is synced into a VM: made, and brought up to date after an edit of one line.

Beside seconds there is the processor's time, which says more on a machine that others use too. An editor that
writes in place leaves the directory as it was; one that saves a new file under the old name does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, INSTALLED, SCRATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DIRECTORIES = 200
FILES = 100
ROUNDS = 5
FIRST = "the first apply"
MOST = 0.1
SETTLED_SECONDS = 0.05
EDITED = SCRATCH / "tree/d7/f9.txt"
SMALL = "[image.base]\nrootfs = { directory = 'base', size = '64MiB' }\n"


def main() -> None:
    """Print a table, each row as a part of the first."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    write_project()
    environment = INSTALLED | {"XDG_CACHE_HOME": str(SCRATCH / "cache")}
    sides: dict[str, tuple[Callable[[], object], list[str]]] = {
        FIRST: (make_anew, ["apply"]),
        "plan of a line more": (append, ["plan"]),
        "apply of it": (lambda: None, ["apply"]),
        "apply of a file that an editor saved": (save, ["apply"]),
        "nothing to do": (lambda: None, ["apply"]),
        "a plan of nothing else": (lambda: None, ["plan", "--target", "image.base"]),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, (prepare, words) in sides.items():
            prepare()
            time.sleep(SETTLED_SECONDS)
            os.sync()
            taken[name].append(run(words, environment))
    print(f"\n{DIRECTORIES * FILES} files in a file_sync")
    first_s, first_cpu_s = (median(values) for values in zip(*taken[FIRST], strict=True))
    for name, runs in taken.items():
        seconds, busy = (median(values) for values in zip(*runs, strict=True))
        parts = f"{seconds / first_s:6.3f}   {busy / first_cpu_s:6.3f}"
        print(f"  {name:<40} {seconds:8.2f} s   {busy:8.2f} s of the processor   {parts}")
    print(f"  at most {MOST} of the first is wanted; the last row is what any plan takes")
    shutil.rmtree(SCRATCH)


def write_project() -> None:
    """A small image, and a VM with a work disk that the tree goes to."""
    (SCRATCH / "base/etc").mkdir(parents=True)
    (SCRATCH / "base/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    for number in range(DIRECTORIES):
        directory = SCRATCH / f"tree/d{number}"
        directory.mkdir(parents=True)
        for name in range(FILES):
            (directory / f"f{name}.txt").write_text(f"file {number} {name}\n" * 20)
    vm = "[vm.a]\nimage = 'base'\nwork.size = '512MiB'\n"
    sync = "[[vm.a.file_sync]]\nhost = 'tree'\nguest = '~/tree'\n"
    (SCRATCH / "vm.toml").write_text(SMALL + vm + sync)


def make_anew() -> None:
    """Have neither a store nor anything that a run remembers."""
    for name in ("build", "cache"):
        shutil.rmtree(SCRATCH / name, ignore_errors=True)


def append() -> None:
    """A line more in one file."""
    with EDITED.open("a") as file:
        file.write("a line\n")


def save() -> None:
    """A new file in the place of the old one."""
    draft = EDITED.with_suffix(".draft")
    draft.write_text(EDITED.read_text() + "and another\n")
    draft.replace(EDITED)


def run(words: list[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds, and those of the processor."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*BANGERBUILD, *words],
        cwd=SCRATCH,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
