"""What this host has and lacks, each with the command that installs it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import libext2fs
from bangerbuild.disk.formats import FORMATS
from bangerbuild.errors import BangerError, ToolError, readable_size
from bangerbuild.fetch.cache import Cache, default_path
from bangerbuild.host import process
from bangerbuild.host.process import Program
from bangerbuild.planning import host
from bangerbuild.running import kvm
from bangerbuild.sources import BOOT_FILES, FILESYSTEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


OF_NETWORKS = (
    Program("ip", "sets up the bridges of networks, in up.sh"),
    Program("nft", "lets networks with nat = true out, in up.sh"),
    Program("flock", "keeps two runs of up.sh apart"),
)
"""What a network's scripts run."""


@dataclass(frozen=True)
class Finding:
    """One thing looked for."""

    name: str
    found: str | None
    """Its version or place; None: it is not there."""
    needed: bool
    """Whether anything fails without it."""
    purpose: str
    hint: str | None = None


def examine() -> tuple[Finding, ...]:
    """Look for everything that is needed, then for what is of use."""
    return tuple(_findings())


def _findings() -> Iterator[Finding]:
    yield Finding("Python", platform.python_version(), needed=True, purpose=sys.executable)
    yield _looked_for("libext2fs", libext2fs.version, needed=True, purpose="reads and writes ext4")
    yield _looked_for("e2fsprogs", host.e2fsprogs_version, needed=True, purpose="makes and checks ext4")
    for program in (Program("qemu-system-x86_64", "boots what was built"), *_of_kinds()):
        yield _tried(program)
    yield _kvm()
    yield _cache()


def _of_kinds() -> Iterable[Program]:
    """The programs that kinds of sources, disk formats and networks need, each once."""
    sources = (kind.programs for kind in (*FILESYSTEMS.values(), *BOOT_FILES.values()))
    disks = (one.programs for one in FORMATS.values())
    return {program.name: program for program in chain(*sources, *disks, OF_NETWORKS)}.values()


def _looked_for(name: str, look: Callable[[], str], *, needed: bool, purpose: str) -> Finding:
    try:
        return Finding(name, look(), needed=needed, purpose=purpose)
    except ToolError as err:
        return Finding(name, None, needed=needed, purpose=purpose, hint=err.hint)
    except BangerError as err:
        return Finding(name, None, needed=needed, purpose=err.brief, hint=err.hint)


def _tried(program: Program) -> Finding:
    """A program that is installed, and that this user can use."""
    found = _looked_for(
        program.name, partial(process.find, program.name), needed=False, purpose=program.purpose
    )
    if found.found is None or program.tried is None:
        return found
    try:
        return replace(found, purpose=f"{program.purpose} ({program.tried()})")
    except ToolError as err:
        return replace(found, found=None, purpose=f"{program.purpose}; {err.brief}", hint=err.hint)


def _cache() -> Finding:
    """What was downloaded, and where it is kept; an empty cache is as good as none."""
    purpose = "downloads, layers and tarballs of packages; `bangerbuild gc` bounds it"
    try:
        cache = Cache(default_path(os.environ))
        held = cache.usage()
        cache.check_place()
    except BangerError as err:
        return Finding("cache", None, needed=False, purpose=err.brief, hint=err.hint)
    return Finding(
        "cache", f"{readable_size(held.allocated_bytes)} in {cache.path}", needed=False, purpose=purpose
    )


def _kvm() -> Finding:
    """Whether a guest runs, and not only whether the device opens."""
    trouble = kvm.trouble(kvm.DEVICE, kvm.cache_path())
    purpose = f"runs VMs fast; {trouble}" if trouble else "runs VMs fast"
    is_closed = Path(kvm.DEVICE).exists() and not os.access(kvm.DEVICE, os.R_OK | os.W_OK)
    hint = "add yourself to the group kvm: usermod -aG kvm USER" if is_closed else None
    return Finding("KVM", None if trouble else kvm.DEVICE, needed=False, purpose=purpose, hint=hint)


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The findings to read, in columns; the way out below what is not there."""
    names = max(len(finding.name) for finding in findings)
    places = max(len(finding.found or "") for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.found else "MISSING" if finding.needed else "absent "
        yield f"{mark} {finding.name:<{names}}  {finding.found or '':<{places}}  {finding.purpose}"
        if finding.hint and not finding.found:
            yield f"        {finding.hint}"
