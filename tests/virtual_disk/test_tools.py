"""The command lines: the format is always given, names are relative, nothing is probed."""

from __future__ import annotations

import json
from pathlib import Path

from bangerbuild.virtual_disk import tools
from bangerbuild.virtual_disk.containers import CONTAINERS

ROOM = Path("/staging/room")
QCOW2 = CONTAINERS[0]


def node(word: str) -> dict[str, object]:
    """What a `json:` word says."""
    assert word.startswith("json:")
    return dict(json.loads(word.removeprefix("json:")))


def test_a_copy_names_both_formats_and_no_base() -> None:
    command = tools.copy(QCOW2, ROOM, "../out", tools.Range(512, 1024, 2048))
    *words, source, target = command.argv
    assert words == ["qemu-img", "convert", "-n", "--target-is-zero"]
    image = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": "disk"}}
    assert node(source) == {"driver": "raw", "offset": 512, "size": 1024, "file": image}
    file = {"driver": "file", "filename": "../out", "locking": "off"}
    assert node(target) == {"driver": "raw", "offset": 2048, "size": 1024, "file": file}
    assert command.directory == str(ROOM)


def test_ranges_are_gathered_one_after_the_other() -> None:
    ranges = (tools.Range(512, 1024), tools.Range(4096, 512))
    *_, first, second, target = tools.gather(QCOW2, ROOM, "out", ranges).argv
    assert [(node(word)["offset"], node(word)["size"]) for word in (first, second)] == [
        (512, 1024),
        (4096, 512),
    ]
    assert node(target) == {"driver": "raw", "file": {"driver": "file", "filename": "out"}}


def test_every_call_is_bounded_in_time_and_memory() -> None:
    for command in (tools.info(QCOW2, ROOM), tools.copy(QCOW2, ROOM, "out", tools.Range(0, 512))):
        assert command.timeout_seconds is not None
        assert command.memory_bytes is not None


def test_the_other_calls_are_these() -> None:
    columns = "NR,START,SECTORS,TYPE,UUID,NAME,SCHEME"
    partx = ("partx", "--sector-size", "4096", "--pairs", "--bytes", "--output", columns, "table")
    assert tools.partitions(ROOM, "table", 4096).argv == partx
    punch = ("fallocate", "--punch-hole", "--offset", "0", "--length", "512", "/x")
    assert tools.punch(Path("/x"), start=0, length=512).argv == punch
