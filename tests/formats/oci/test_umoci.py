"""Images that umoci makes, and layers made by hand, as umoci unpacks them: each name, attribute and byte.

umoci is the judge: it applies layers to a plain directory as the specification's authors mean it.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.populate import populate
from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.layers import open_layers
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import NOW, assert_clean, make_ext4
from tests.formats.oci.making import directory, hard_link, layout_of, opaque, symlink, tarball, whiteout
from tests.formats.oci.reading import Node, resolved, streamed, unpacked
from tests.formats.tarmaking import member, set_xattr
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack an image with its owners"),
]
SECOND = 1_000_000_000
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def umoci(*arguments: str) -> None:
    subprocess.run([need("umoci"), *arguments], check=True, capture_output=True)


def unpack(layout: Path, tag: str, bundle: Path) -> Path:
    umoci("unpack", f"--image={layout}:{tag}", str(bundle))
    return bundle / "rootfs"


def first_layer(top: Path) -> None:
    """One of everything that a layer can hold."""
    for name in ("etc", "usr/bin", "var/lib/dpkg", "opt/app/data", "gone/deep", "keep", "swap"):
        (top / name).mkdir(parents=True)
    (top / "lib").symlink_to("usr/lib")
    (top / "usr/bin/tool").write_bytes(os.urandom(70_000))
    (top / "usr/bin/tool").chmod(0o4755)
    (top / "usr/bin/same").hardlink_to(top / "usr/bin/tool")
    os.chown(top / "etc", 10, 20)
    (top / "etc").chmod(0o2750)
    (top / "etc/conf").write_text("some setting\n")
    (top / "etc/caf\udce9").write_text("not UTF-8")
    (top / "etc" / ("long-" * 40)).write_text("long")
    (top / "etc/link").symlink_to("../" * 40 + "etc/conf")
    os.link(top / "etc/link", top / "etc/again", follow_symlinks=False)
    for name in ("one", "two", "three"):
        (top / "opt/app/data" / name).write_text(name)
        (top / "var/lib/dpkg" / name).write_text(name)
        (top / "gone/deep" / name).write_text(name)
    os.mkfifo(top / "keep/fifo")
    os.mknod(top / "keep/null", 0o20666, os.makedev(1, 3))
    os.mknod(top / "keep/disk", 0o60660, os.makedev(259, 65537))
    (top / "swap/file").write_text("in a directory")
    set_xattr(top / "usr/bin/tool", "security.capability", CAPABILITY)
    set_xattr(top / "etc", "user.of", b"a directory\0")
    subprocess.run([need("setfacl", "acl"), "-m", "u:1234:rw-", str(top / "etc/conf")], check=True)


def second_layer(top: Path) -> None:
    """Changes, removals, replacements of each kind by another."""
    shutil.rmtree(top / "gone")
    shutil.rmtree(top / "swap")
    (top / "swap").write_text("a file now")
    (top / "etc/conf").unlink()
    (top / "etc/conf").mkdir()
    (top / "etc/conf/x").write_text("below what was a file")
    (top / "usr/bin/same").unlink()
    (top / "opt/app/data/two").unlink()
    (top / "var/lib/dpkg/three").unlink()
    (top / "var/lib/dpkg/three").hardlink_to(top / "var/lib/dpkg/one")
    (top / "keep").chmod(0o1777)
    (top / "keep/null").unlink()
    (top / "keep/null").write_text("no device any more")
    os.utime(top / "opt", ns=(5 * SECOND, 5 * SECOND))


def third_layer(top: Path) -> None:
    """And back."""
    (top / "swap").unlink()
    (top / "swap").mkdir(mode=0o711)
    (top / "swap/file").write_text("again")
    (top / "gone").mkdir()
    (top / "gone/new").write_text("new")
    (top / "usr/lib").mkdir()
    (top / "usr/lib/x").write_text("x")
    shutil.rmtree(top / "etc/conf")
    (top / "etc/conf").hardlink_to(top / "usr/bin/tool")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with an image of three layers, an opaque directory on top."""
    place = tmp_path_factory.mktemp("umoci")
    layout, name = place / "layout", f"{place / 'layout'}:v1"
    umoci("init", f"--layout={layout}")
    umoci("new", f"--image={name}")
    for number, change in enumerate((first_layer, second_layer, third_layer)):
        bundle = place / str(number)
        change(unpack(layout, "v1", bundle))
        umoci("repack", f"--image={name}", str(bundle))
        shutil.rmtree(bundle)
    (place / "data").mkdir()
    (place / "data/fresh").write_text("fresh")
    umoci("insert", f"--image={name}", "--opaque", str(place / "data"), "/opt/app/data")
    umoci("config", f"--image={name}", "--config.env=A=b", "--config.user=1000", "--config.cmd=/bin/sh")
    return layout


def assert_same(found: dict[str, Node], wanted: dict[str, Node]) -> None:
    assert sorted(found) == sorted(wanted)
    for path, node in wanted.items():
        assert (path, found[path]) == (path, node)


def test_an_image_of_umoci_is_what_umoci_unpacks(image: Path, tmp_path: Path) -> None:
    wanted = unpacked(unpack(image, "v1", tmp_path / "bundle"))

    assert_same(streamed(image, "v1"), wanted)
    assert {"opt/app/data/fresh", "gone/new", "swap/file"} < set(wanted)
    assert "opt/app/data/one" not in wanted
    assert wanted["etc/conf"].names == ("etc/conf", "usr/bin/tool")
    assert ("security.capability", CAPABILITY) in wanted["usr/bin/tool"].xattrs


def test_the_ext4_made_of_it_holds_what_umoci_unpacks(image: Path, tmp_path: Path) -> None:
    disk, mount = make_ext4(tmp_path / "disk"), tmp_path / "mount"
    with (
        open_layers(DirectoryLayout(image), resolved(image, "v1"), written="oci:image") as entries,
        RawFile(disk, writable=True, durable=False) as blocks,
        Filesystem(blocks, writable=True, now=NOW) as filesystem,
    ):
        populate(filesystem, entries)
    assert_clean(disk)
    mount.mkdir()
    if subprocess.run([need("mount"), "-o", "loop,ro", disk, mount], check=False).returncode:
        pytest.skip("no loop device to mount an ext4 with")
    try:
        found = unpacked(mount)
    finally:
        subprocess.run([need("umount", "mount"), mount], check=True)

    del found["lost+found"]
    assert_same(found, unpacked(unpack(image, "v1", tmp_path / "bundle")))


def test_the_configuration_that_umoci_wrote_is_read(image: Path) -> None:
    config = resolved(image, "v1").config

    assert (config.env, config.user, config.cmd) == (("A=b",), "1000", ("/bin/sh",))


NAMES = ("a", "b", "c", "d")


class Drawing:
    """Layers drawn entry by entry; it keeps track of what is there, so that most of them can be applied."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._directories = {""}
        self._others: set[str] = set()

    def layers(self) -> list[bytes]:
        return [
            tarball(*(self._member(is_upper=bool(number)) for _ in range(self._draw(st.integers(1, 8)))))
            for number in range(3)
        ]

    def _member(self, *, is_upper: bool) -> bytes:
        path = f"{self._one_of(self._directories)}/{self._draw(st.sampled_from(NAMES))}".lstrip("/")
        kinds = ["directory", "file", "symlink", "hard link", *(["whiteout", "opaque"] if is_upper else [])]
        match self._draw(st.sampled_from(kinds)):
            case "file":
                self._now(path, self._others)
                return member(path.encode(), b"%d" % self._draw(st.integers(0, 9)), mtime=5)
            case "symlink":
                text = self._draw(st.sampled_from(["", "/", "../"])) + self._one_of(self._directories)
                self._now(path, self._others, *([self._directories] if self._draw(st.booleans()) else []))
                return symlink(path.encode(), (text or ".").encode())
            case "hard link" if targets := sorted(self._others - {path}):
                target = self._draw(st.sampled_from(targets))
                self._now(path, self._others)
                return hard_link(path.encode(), target.encode())
            case "whiteout":
                removed = self._one_of(self._directories | self._others) or "a"
                self._gone(removed)
                return whiteout(removed.encode())
            case "opaque":
                emptied = self._one_of(self._directories)
                self._gone(emptied, itself=False)
                return opaque(emptied.encode() or b".")
            case _:
                self._others.discard(path)
                self._directories.add(path)
                mode = self._draw(st.sampled_from([0o700, 0o755, 0o1777]))
                return directory(path.encode(), mode=mode)

    def _one_of(self, paths: set[str]) -> str:
        return self._draw(st.sampled_from(sorted(paths)))

    def _now(self, path: str, *kinds: set[str]) -> None:
        self._gone(path)
        for kind in kinds:
            kind.add(path)

    def _gone(self, path: str, *, itself: bool = True) -> None:
        start = f"{path}/" if path else ""
        for paths in (self._directories, self._others):
            paths.difference_update([other for other in paths if other and other.startswith(start)])
            if itself and path:
                paths.discard(path)


@st.composite
def drawn_layers(draw: st.DrawFn) -> list[bytes]:
    return Drawing(draw).layers()


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(layers=drawn_layers())
def test_whatever_layers_do_to_each_other_the_tree_is_umocis(
    tmp_path_factory: pytest.TempPathFactory, layers: list[bytes]
) -> None:
    place = tmp_path_factory.mktemp("drawn")
    layout = layout_of(place / "layout", *layers, tag="v1")
    done = subprocess.run(
        [need("umoci"), "unpack", f"--image={layout}:v1", str(place / "bundle")],
        check=False,
        capture_output=True,
    )
    try:
        found = streamed(layout)
    except SourceError:
        assert done.returncode != 0, "we refuse what umoci takes"
        return
    if done.returncode == 0:  # umoci also refuses a hard link that turns out to be one to itself
        assert_same_tree(found, unpacked(place / "bundle/rootfs"))
    shutil.rmtree(place)


def assert_same_tree(found: dict[str, Node], wanted: dict[str, Node]) -> None:
    """The same, but for what umoci gives to directories that no layer names, and to those around them.

    It makes them with the time of day, leaves hidden ones their attributes, and moves the times of those in
    which it makes or removes one.
    """
    unnamed = set(wanted) - set(found)
    assert all(wanted[path].type is EntryType.DIRECTORY for path in unnamed)
    assert all(any(path.startswith(f"{above}/") for path in found) for above in unnamed if above)
    for path, node in found.items():
        assert (path, comparable(node, node)) == (path, comparable(wanted[path], node))


UNNAMED = Node(EntryType.DIRECTORY, 0o755, 0, 0, 0, "", (0, 0), (), "", ())


def comparable(node: Node, found: Node) -> Node:
    if found.type is not EntryType.DIRECTORY:
        return node
    return replace(node, mtime_ns=0, mode=0 if found == UNNAMED else node.mode)
