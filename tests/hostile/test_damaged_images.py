"""Damaged images as sources: refused by name and with a way out, in time; or e2fsck has no objection too."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.disk.ext4_tools import debugfs, is_clean
from tests.hostile.damage import damaged, make_target, regions
from tests.hostile.roots import debugfs_write
from tests.hostile.running import Ran, digest, refusal, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KINDS = {
    "bare": ("-O", "^metadata_csum"),
    "sums": (),
    "maps": ("-t", "ext3", "-b", "1024"),
    "inline": ("-O", "inline_data"),
    "clusters": ("-O", "^metadata_csum,bigalloc", "-C", "16384"),
}
HOWS = ("flipped", "numbers", "mixed up")
IMAGE = """
[image.{0}]
rootfs.ext4 = "{0}.ext4"
work_seed.ext4 = "{0}.ext4"
"""


@dataclass(frozen=True)
class Imported:
    """Images that were to be taken, in one run."""

    top: Path
    digests: Mapping[str, str]
    """Of the sources, before."""
    ran: Ran

    @property
    def actions(self) -> dict[str, dict[str, Any]]:
        """What the run said of each step."""
        return {action["id"]: action for action in json.loads(self.ran.stdout)["actions"]}


def names() -> list[str]:
    return [f"{kind}-{number}" for kind in KINDS for number in range(12)]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    top = tmp_path_factory.mktemp("images")
    for kind, options in KINDS.items():
        sound = make_target(top / f"{kind}.ext4", *options)
        parts = regions(sound)
        for number in range(12):
            chance = random.Random(f"{kind}{number}")  # noqa: S311 - damage, not cryptography
            part = parts[list(parts)[number % len(parts)]]
            data = bytearray(sound.read_bytes())
            hurt = damaged(bytes(data[part.offset : sum(part)]), HOWS[number % len(HOWS)], chance)
            data[part.offset : sum(part)] = hurt
            (top / f"{kind}-{number}.ext4").write_bytes(data)
    (top / "vm.toml").write_text("".join(map(IMAGE.format, names())))
    before = {name: digest(top / f"{name}.ext4") for name in names()}
    return Imported(top, before, run("apply", "-k", "-q", "--json", cwd=top))


@pytest.mark.parametrize("name", names())
def test_a_damaged_image_is_refused_by_name_or_is_none(imported: Imported, name: str) -> None:
    for step in (f"image.{name}.rootfs", f"image.{name}.work_seed"):
        action = imported.actions[step]
        if action["result"] == "done":
            assert is_clean(imported.top / f"{name}.ext4")
            assert is_clean(imported.top / "build" / action["artifacts"][0])
            continue
        error, way_out = refusal(action)
        assert f"'{name}.ext4'" in error
        assert way_out
        assert ".staging" not in json.dumps(action)
        assert len(json.dumps(action)) < 5000
        assert not (imported.top / "build" / action["artifacts"][0]).exists()
    assert digest(imported.top / f"{name}.ext4") == imported.digests[name]


def test_the_run_ends_in_time_and_in_bounds(imported: Imported) -> None:
    imported.ran.assert_fine(1, disks=len(imported.actions))


def test_an_image_of_which_e2fsck_has_no_end_of_things_to_say_is_refused(tmp_path: Path) -> None:
    """Thousands of inodes with the same blocks: e2fsck names, for each, all the others."""
    source = make_target(tmp_path / "crowd.ext4", "-O", "^metadata_csum", "-N", "8192")
    inode = regions(source)["inode of a file"]
    free = int(debugfs(source, "stats -h").decode().partition("First inode:")[2].split()[0])
    with source.open("r+b") as file:
        file.seek(inode.offset)
        copy = file.read(256)
        file.seek(inode.offset + 256 * (free + 300))
        file.write(copy * 7000)
    (tmp_path / "vm.toml").write_text('image.crowd.rootfs.ext4 = "crowd.ext4"\n')
    ran = run("apply", cwd=tmp_path)
    ran.assert_fine(1)
    assert "the filesystem in 'crowd.ext4' can't be checked" in ran.stderr
    assert "printed more than 1 MiB" in ran.stderr
    assert len(ran.stderr) < 5000


FAKES = {
    "sleeps": ("exec sleep 1000", "did not end within 10 s"),
    "eats memory": ("exec tail /dev/zero", "memory exhausted"),
    "crashes": ("kill -SEGV $$", "was ended by SIGSEGV"),
}


@pytest.mark.parametrize("fake", FAKES)
def test_an_e2fsck_that_does_not_come_to_an_end_is_ended(
    fake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, message = FAKES[fake]
    make_target(tmp_path / "sound.ext4")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/e2fsck").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/e2fsck").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "vm.toml").write_text('image.sound.rootfs.ext4 = "sound.ext4"\n')
    ran = run("apply", cwd=tmp_path)
    ran.assert_fine(1)
    assert "the filesystem in 'sound.ext4' can't be checked" in ran.stderr
    assert message in ran.stderr


CYCLES = {
    "a directory inside itself": ("ln /etc/ssh /etc/ssh/again",),
    "the root inside itself": ("ln / /etc/root",),
    "a parent that is none": ("ln /etc /usr/etc", "unlink /etc"),
    "a directory of two names": ("ln /etc/ssh /usr/ssh",),
    "an unknown type": ("set_inode_field /etc/hostname mode 0",),
}


@pytest.mark.parametrize("cycle", CYCLES)
def test_directories_that_are_no_tree_are_refused(cycle: str, tmp_path: Path) -> None:
    source = make_target(tmp_path / "odd.ext4")
    debugfs_write(source, *CYCLES[cycle])
    before = digest(source)
    assert not is_clean(source)
    (tmp_path / "vm.toml").write_text('image.odd.rootfs.ext4 = "odd.ext4"\n')
    ran = run("apply", cwd=tmp_path)
    ran.assert_fine(1)
    assert "the filesystem in 'odd.ext4' has errors" in ran.stderr
    assert "hint: e2fsck -f 'odd.ext4'" in ran.stderr
    assert digest(source) == before
