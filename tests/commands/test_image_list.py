"""The images of a store, as a table and one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.commands import image_list
from bangerbuild.commands.image_list import StoredImage, details, lines, named, stored
from bangerbuild.errors import UsageError
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE, MIB

if TYPE_CHECKING:
    from pathlib import Path

WEB = StoredImage(
    name="web",
    fingerprint="ab" * 32,
    artifact="images/web/ab/rootfs.ext4",
    size_bytes=64 * MIB,
    allocated_bytes=3 * MIB,
    source="docker://web:1",
    pin={"sha256": "cd" * 32, "platform": "linux/amd64"},
    partition={},
    config={"env": ["A=b", "C=d"], "labels": {"x": "1"}, "user": ""},
    kernel="6.1.0-9-amd64",
    parts=("images/web/ab/vmlinuz", "images/web/ab/initrd.img"),
    used_by=("vm.one.root", "vm.two.root"),
    is_current=True,
)
OLD = replace(
    WEB, fingerprint="ef" * 32, is_current=False, used_by=(), kernel=None, pin={}, config={}, parts=()
)


def test_the_details_say_which_partition_of_a_disk_it_is() -> None:
    cut = replace(WEB, partition={"number": 1, "why": "`partition` names it"})
    assert "partition      number=1" in "\n".join(details(cut))
    assert "partition" not in "\n".join(details(WEB))


def test_a_row_is_what_one_asks_for_first() -> None:
    head, web, old = lines([WEB, OLD])
    assert tuple(head.split()) == (*image_list.HEAD[:-1], "USED", "BY")
    assert web.split("  ")[0].strip() == "web"
    for text in ("abababababab ", "64 MiB", "3 MiB", "docker://web:1", "6.1.0-9-amd64", "vm.one, vm.two"):
        assert text in f"{web} "
    assert old.startswith("web (old)  ")
    assert old.endswith("-        -") or old.split()[-2:] == ["-", "-"]
    assert not any(line.endswith(" ") for line in (head, web, old))


def test_no_images_are_a_head_alone() -> None:
    (head,) = lines([])
    assert head.split()[0] == "NAME"


def test_the_details_have_a_line_for_each_thing_and_none_for_what_is_not_said() -> None:
    text = [line.split() for line in details(WEB)]
    assert ["name", "web"] in text
    assert ["sha256", "cd" * 32] in text
    assert ["used", "by", "vm.one.root"] in text
    assert not any(line.startswith("config user") for line in details(WEB))
    assert [line.split() for line in details(WEB) if "C=d" in line] == [["C=d"]]
    assert any(line.startswith("config labels  x=1") for line in details(WEB))


def test_what_nobody_uses_and_what_has_no_kernel_says_so() -> None:
    text = list(details(OLD))
    assert text[-1].split() == ["used", "by", "nothing"]
    assert any(line.split() == ["kernel", "none"] for line in text)


def test_an_image_is_named_by_its_name_or_the_beginning_of_its_fingerprint() -> None:
    assert named([WEB, OLD], "web") is WEB
    assert named([WEB, OLD], "efef") is OLD


@pytest.mark.parametrize(
    ("images", "name", "hint"),
    [([WEB, OLD], "wbe", "did you mean 'web'?"), ([WEB, OLD], "mail", "there are: web"), ([], "wbe", None)],
)
def test_an_image_that_is_not_there_is_told_with_those_that_are(
    images: list[StoredImage], name: str, hint: str | None
) -> None:
    with pytest.raises(UsageError, match=f"no image '{name}' is in the store") as caught:
        named(images, name)
    assert caught.value.hint == hint


def test_as_json_an_image_has_its_path_and_all_else() -> None:
    document = WEB.to_json()
    assert document["path"] == WEB.artifact
    assert json.loads(json.dumps(document))["used_by"] == list(WEB.used_by)
    assert {"size_bytes", "allocated_bytes", "pin", "config", "is_current"} <= document.keys()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An image with a VM on it and one made from it, and an older image of the same name."""
    made = Project(tmp_path)
    text = IMAGE + '[image.more.rootfs]\nimage = "debian"\n[vm.web]\nimage = "debian"\n'
    write_tar(tmp_path / "root.tar", {**DEBIAN, "old": ""})
    made.write(IMAGE)
    made.build()
    write_tar(tmp_path / "root.tar", DEBIAN)
    made.write(text)
    made.build()
    return made


def test_all_that_are_there_are_found_the_current_one_first(project: Project) -> None:
    found = stored(store.read(project.store), print)
    assert [(image.name, image.is_current) for image in found] == [
        ("debian", True),
        ("debian", False),
        ("more", True),
    ]
    debian, old, more = found
    assert debian.used_by == ("image.more.rootfs", "vm.web.root")
    assert (old.used_by, more.used_by) == ((), ())
    assert debian.size_bytes == (project.store / debian.artifact).stat().st_size
    assert debian.allocated_bytes == (project.store / debian.artifact).stat().st_blocks * 512
    assert (debian.source, debian.kernel, debian.pin, debian.config) == ("root.tar", None, {}, {})


def test_an_image_whose_file_is_gone_is_none(project: Project) -> None:
    project.image("more").unlink()
    assert [image.name for image in stored(store.read(project.store), print)] == ["debian", "debian"]


def test_where_no_store_is_there_are_none(tmp_path: Path) -> None:
    assert stored(store.read(tmp_path / "missing"), print) == ()
