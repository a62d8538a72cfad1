"""Exception stores that no kernel wrote: read as damaged, never believed, never in the way of other VMs."""

from __future__ import annotations

import json
import os
import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import BangerError
from tests.hostile.damage import make_target
from tests.hostile.running import Ran, digest, refusal, run
from tests.projects import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHUNK = 4096
PAIRS = CHUNK // 16
HEAD = '[image.small]\nrootfs.ext4 = "small.ext4"\n[defaults]\nimage = "small"\nnetwork.dns = ["{dns}"]\n'


def _header(position: int, value: int) -> Callable[[bytearray], None]:
    """Another number in the header: magic, valid, version, sectors of a chunk."""
    return lambda store: struct.pack_into("<I", store, 4 * position, value)


def _pair(index: int, old: int | None = None, new: int | None = None) -> Callable[[bytearray], None]:
    def change(store: bytearray) -> None:
        was = struct.unpack_from("<2Q", store, CHUNK + 16 * index)
        pair = (was[0] if old is None else old, was[1] if new is None else new)
        struct.pack_into("<2Q", store, CHUNK + 16 * index, *pair)

    return change


def _same_place(store: bytearray) -> None:
    _pair(1, new=struct.unpack_from("<2Q", store, CHUNK)[1])(store)


def _twice(store: bytearray) -> None:
    _pair(1, old=struct.unpack_from("<2Q", store, CHUNK)[0])(store)


def _mixed_up(store: bytearray) -> None:
    """Each pair sound, and each chunk another's."""
    count = next(
        index for index in range(PAIRS) if not struct.unpack_from("<2Q", store, CHUNK + 16 * index)[1]
    )
    news = [struct.unpack_from("<2Q", store, CHUNK + 16 * index)[1] for index in range(count)]
    for index in range(count):
        _pair(index, new=news[index - 1])(store)


def _without_end(store: bytearray) -> None:
    """Every area full to the end of the file."""
    chunks, old = len(store) // CHUNK, 0
    for area in range(1, chunks, PAIRS + 1):
        for index in range(PAIRS):
            struct.pack_into("<2Q", store, area * CHUNK + 16 * index, old, min(area + 1 + index, chunks - 1))
            old += 1


def _cut(length: int) -> Callable[[bytearray], None]:
    def change(store: bytearray) -> None:
        del store[length:]

    return change


STORES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "no-magic": (_header(0, 0), "is no dm-snapshot store"),
    "invalid": (_header(1, 0), "is marked invalid"),
    "version-2": (_header(2, 2), "of version 2"),
    "chunks-of-nothing": (_header(3, 0), "a chunk size of 0 sectors"),
    "chunks-of-3-sectors": (_header(3, 3), "a chunk size of 3 sectors"),
    "chunks-of-512-mib": (_header(3, 1 << 20), "a chunk size of 1048576 sectors"),
    "chunks-of-2-tib": (_header(3, 0xFFFFFFFF), "a chunk size of 4294967295 sectors"),
    "empty": (_cut(0), "ends before its header"),
    "half-a-header": (_cut(8), "ends before its header"),
    "header-alone": (_cut(CHUNK), "is cut short"),
    "half-an-area": (_cut(CHUNK + 100), "is cut short"),
    "data-cut-off": (_cut(4 * CHUNK), "is damaged"),
    "on-the-header": (_pair(0, new=CHUNK * (PAIRS + 1)), "is damaged"),
    "on-the-metadata": (_pair(0, new=1), "is damaged"),
    "beyond-the-store": (_pair(0, new=1 << 40), "is damaged"),
    "beyond-the-base": (_pair(0, old=1 << 40), "is damaged"),
    "far-beyond": (_pair(0, old=(1 << 64) - 1, new=(1 << 64) - 1), "is damaged"),
    "two-at-one-place": (_same_place, "is there twice"),
    "one-twice": (_twice, "is there twice"),
    "mixed-up": (_mixed_up, "'vms/mixed-up/root.cow'"),
    "without-end": (_without_end, "'vms/without-end/root.cow'"),
}


@dataclass(frozen=True)
class Hostile:
    project: Project
    stores: dict[str, str]
    """Their digests, changed as they are."""
    runs: dict[str, Ran]

    def actions(self, run: str) -> dict[str, dict[str, Any]]:
        """What a run said of each step."""
        return {action["id"]: action for action in json.loads(self.runs[run].stdout)["actions"]}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    project = Project(tmp_path_factory.mktemp("stores"))
    make_target(project.directory / "small.ext4")
    declare(project, "10.0.0.1")
    run("apply", "-q", cwd=project.directory).assert_fine(0)
    for name, (change, _) in STORES.items():
        store = bytearray(project.cow(name).read_bytes())
        change(store)
        project.cow(name).write_bytes(store)
    digests = {name: digest(project.cow(name)) for name in STORES}
    declare(project, "10.0.0.2")
    commands = {
        "plan": ("plan", "--json"),
        "status": ("status", "--json"),
        "apply": ("apply", "-k", "-q", "--json"),
    }
    return Hostile(
        project, digests, {name: run(*command, cwd=project.directory) for name, command in commands.items()}
    )


def declare(project: Project, dns: str) -> None:
    project.write(HEAD.format(dns=dns) + "".join(f"[vm.{name}]\n" for name in ("good", *STORES)))


@pytest.mark.parametrize("name", STORES)
def test_a_store_that_lies_is_named_and_left_as_it_is(hostile: Hostile, name: str) -> None:
    """One whose size has changed is blocked in the plan already."""
    action = hostile.actions("apply")[f"vm.{name}.root.patch"]
    error, way_out = refusal(action)
    if action["action"] == "blocked":
        assert hostile.actions("plan")[f"vm.{name}.root.patch"]["reasons"] == action["reasons"]
    assert STORES[name][1] in error
    assert f"'vms/{name}/root.cow'" in error
    assert way_out
    assert digest(hostile.project.cow(name)) == hostile.stores[name]


@pytest.mark.parametrize("name", ["plan", "status", "apply"])
def test_every_run_ends_in_time_and_in_bounds(hostile: Hostile, name: str) -> None:
    hostile.runs[name].assert_fine(1 if name == "apply" else 0)


def test_other_vms_are_patched_meanwhile(hostile: Hostile) -> None:
    guest = hostile.project.guest("good")
    guest.assert_clean()
    assert guest.text("/etc/resolv.conf") == "nameserver 10.0.0.2\n"


@pytest.mark.parametrize("name", ["no-magic", "chunks-of-512-mib", "half-an-area", "without-end", "mixed-up"])
def test_such_a_store_is_not_listed(hostile: Hostile, name: str) -> None:
    ran = run("ls", f"build/vms/{name}/root.cow", "/", cwd=hostile.project.directory)
    ran.assert_fine(1, 3)
    assert "error: " in ran.stderr


def test_bytes_changed_at_random_end_in_an_error_of_ours_or_in_none(hostile: Hostile, tmp_path: Path) -> None:
    sound = hostile.project.cow("good").read_bytes()[: 64 * CHUNK]
    path = tmp_path / "root.cow"
    with RawFile(hostile.project.base("good")) as base:
        for number in range(150):
            chance = random.Random(number)  # noqa: S311 - damage, not cryptography
            store = bytearray(sound)
            for _ in range(chance.choice((1, 3, 10))):
                at = chance.choice(
                    (chance.randrange(16), CHUNK + chance.randrange(600), chance.randrange(len(store)))
                )
                store[at] = chance.randrange(256)
            path.write_bytes(store)
            os.truncate(path, chance.choice((len(store), 16 << 20, len(store) - 4096, 3 * CHUNK)))
            try:
                with SnapshotStore(base, path) as disk, Filesystem(disk, allow_unclean=True) as fs:
                    fs.listdir("/etc")
                    fs.read("/etc/hosts")
            except BangerError as err:
                assert str(path) in err.brief  # noqa: PT017 - no error is as good
