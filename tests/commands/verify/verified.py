"""Verifying a project, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild.commands import verify
from bangerbuild.commands.verify.check import Check, CheckResult
from bangerbuild.model.request import RunOptions

if TYPE_CHECKING:
    from tests.projects import Project


SEED = '[image.debian.work_seed]\ndirectory = "skel"\nsize = "16MiB"\n'
WEB = """\
[vm.web]
image = "debian"
work.size = "32MiB"
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
[[vm.web.file]]
guest = "~/.config"
content = "colour = red\\n"
"""
DB = """\
[vm.db]
image = "debian"
root.format = "raw"
work = false
[[vm.db.disk]]
name = "data"
size = "16MiB"
mount = "/data"
[[vm.db.file]]
guest = "/data/table"
content = "1,2,3\\n"
"""
MANNER = RunOptions(jobs=2, lock_seconds=0)


@dataclass
class Verified:
    """Verifies a project, and remembers what came of it last."""

    project: Project
    checks: tuple[Check, ...] = ()
    told: list[Check] = field(default_factory=list)

    def __call__(self, *targets: str, again: bool = False) -> dict[tuple[str, str], list[str]]:
        """The messages of what is not well, by artifact (without fingerprint) and check."""
        request = replace(self.project.request(), targets=targets)
        self.told.clear()
        _, self.checks = verify.verify(request, MANNER, self.told.extend, ignore, again=again)
        faults: dict[tuple[str, str], list[str]] = {}
        for check in self.checks:
            if check.result is not CheckResult.OK:
                faults.setdefault((short(check.path), check.check), []).append(check.message)
        return faults

    def names(self) -> dict[str, list[str]]:
        """The checks that were made, by artifact."""
        names: dict[str, list[str]] = {}
        for check in self.checks:
            names.setdefault(short(check.path), []).append(check.check)
        return names

    def results(self) -> set[CheckResult]:
        return {check.result for check in self.checks}


def ignore(_message: str) -> None:
    pass


def short(path: str) -> str:
    """Without the fingerprint."""
    parts = path.split("/")
    return "/".join(parts[:2] + parts[3:]) if parts[0] == "images" else path


def artifacts(project: Project) -> dict[str, tuple[bytes, int, int]]:
    """What lies in the store, but for its own files: bytes, inode and time."""
    return {
        str(path.relative_to(project.store)): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for top in ("images", "vms")
        for path in sorted((project.store / top).rglob("*"))
        if path.is_file()
    }
