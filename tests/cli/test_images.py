"""`image import`, `image ls` and `image show`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.disk.ext4_tools import make_ext4
from tests.formats.oci.making import LayoutMaker, tarball
from tests.formats.tarmaking import member
from tests.projects import DEBIAN, Disk, write_tar
from tests.stores import files
from tests.virtual_disk.making import LINUX, ROOT, Part, disk, filesystem
from tests.web import serving

if TYPE_CHECKING:
    from tests.conftest import CommandLine

DEFAULT_BYTES = 144 << 20


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with sources of every sort, and an empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "here"
    directory.mkdir()
    write_tar(directory / "root.tar", DEBIAN)
    make_ext4(directory / "disk.ext4", size="32M")
    (directory / "tree").mkdir()
    (directory / "tree/file").write_text("hello\n")
    maker = LayoutMaker(directory / "layout")
    maker.add(maker.image(tarball(member(b"etc/a", b"a")), config={"Env": ["A=b"], "Cmd": ["sh"]}), "v1")
    return directory


def imported(cli: CommandLine, directory: Path, *arguments: str) -> Disk:
    done = cli("image", "import", *arguments, cwd=directory)
    assert done.returncode == 0, done.stderr
    disk = Disk(Path(done.stdout.strip()))
    disk.assert_clean()
    return disk


def shown_sizes(cli: CommandLine, directory: Path) -> dict[str, int]:
    """The sizes of the images as `image ls` calls them."""
    images = json.loads(cli("image", "ls", "--json", cwd=directory).stdout)["images"]
    return {f"{one['name']}{'' if one['is_current'] else ' (old)'}": one["size_bytes"] for one in images}


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("root.tar", "/etc/hostname"),
        ("tree", "/file"),
        ("disk.ext4", "/lost+found"),
        ("oci:layout:v1", "/etc/a"),
    ],
)
def test_whatever_is_named_becomes_an_image_whose_path_is_printed(
    cli: CommandLine, directory: Path, source: str, path: str
) -> None:
    assert imported(cli, directory, source, "one").exists(path)
    assert not (directory / "bangerbuild.lock").exists()


def test_a_disk_image_is_imported_and_one_of_its_partitions_may_be_named(
    cli: CommandLine, directory: Path
) -> None:
    root = filesystem(directory / "root", ROOT, size="16M", label="one")
    disk(directory / "cloud.img", [Part(16, LINUX, root), Part(16, LINUX, root)])
    done = cli("image", "import", "cloud.img", "one", "-q", cwd=directory)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'cloud.img' has more than one root filesystem: partitions 1 and 2" in done.stderr
    assert "name one with `--partition …`" in done.stderr
    assert imported(cli, directory, "cloud.img", "one", "--partition", "2").exists("/etc/passwd")
    shown = cli("image", "show", "one", cwd=directory).stdout
    assert "number=2" in shown


def test_an_address_may_be_imported_and_pinned(cli: CommandLine, directory: Path) -> None:
    with serving(directory) as web:
        assert imported(cli, directory, web.url("root.tar"), "one").exists("/etc/hostname")
        done = cli("image", "import", web.url("root.tar"), "two", "--sha256", "0" * 64, cwd=directory)
    assert done.returncode == 1
    assert "is not what it must be" in done.stderr


def test_an_import_takes_what_an_address_gives_today_and_offline_what_it_gave(
    cli: CommandLine, directory: Path
) -> None:
    with serving(directory) as web:
        url = web.url("root.tar")
        first = imported(cli, directory, url, "one").path
        assert imported(cli, directory, url, "one").path == first
        write_tar(directory / "root.tar", {**DEBIAN, "new": ""})
        assert imported(cli, directory, url, "one", "--offline").path == first
        assert imported(cli, directory, url, "one").exists("/new")


def test_the_same_import_twice_makes_the_image_once(cli: CommandLine, directory: Path) -> None:
    first = imported(cli, directory, "root.tar", "one").path
    done = cli("image", "import", "root.tar", "one", cwd=directory)
    assert (done.stdout, "create" in done.stderr) == (f"{first}\n", False)


def test_an_image_that_is_kept_is_the_current_one_again(cli: CommandLine, directory: Path) -> None:
    (directory / "vm.toml").write_text('[image.one.rootfs]\ntar = "root.tar"\n')
    assert cli("apply", "-q", cwd=directory).returncode == 0
    imported(cli, directory, "root.tar", "one", "--size", "200MiB")
    assert shown_sizes(cli, directory) == {"one": 200 << 20, "one (old)": DEFAULT_BYTES}
    assert cli("apply", "-q", cwd=directory).returncode == 0
    assert shown_sizes(cli, directory) == {"one": DEFAULT_BYTES, "one (old)": 200 << 20}
    imported(cli, directory, "root.tar", "one", "--size", "200MiB")
    assert shown_sizes(cli, directory) == {"one": 200 << 20, "one (old)": DEFAULT_BYTES}


def test_size_and_store_may_be_said(cli: CommandLine, directory: Path) -> None:
    disk = imported(cli, directory, "tree", "one", "--size", "24MiB", "--store", "elsewhere")
    assert disk.path.stat().st_size == 24 << 20
    assert disk.path.is_relative_to(directory / "elsewhere")


def test_sizes_may_be_plain_numbers_of_bytes(cli: CommandLine, directory: Path) -> None:
    sizes = ("--size", str(24 << 20), "--max-size", str(1 << 20))
    assert imported(cli, directory, "root.tar", "one", *sizes).path.stat().st_size == 24 << 20
    done = cli("image", "import", "root.tar", "two", "--max-size", "1000", cwd=directory)
    assert done.returncode == 1
    assert "unpacks to more than 1000 bytes" in done.stderr


def test_a_tilde_is_a_home_only_where_a_path_begins_with_it(cli: CommandLine, directory: Path) -> None:
    (directory / "root.tar").rename(directory / "~root.tar")
    (directory / "tree").rename(directory / "~")
    imported(cli, directory, "./~root.tar", "one", "--size", "24MiB")
    imported(cli, directory, "./~", "two", "--size", "24MiB")
    done = cli("image", "import", "~root.tar", "three", cwd=directory)
    assert done.returncode == 3
    assert "'~root.tar' starts with the home directory of an unknown user" in done.stderr


def test_a_fifo_is_refused_and_not_waited_for(cli: CommandLine, directory: Path) -> None:
    os.mkfifo(directory / "fifo")
    done = cli("image", "import", "fifo", "one", cwd=directory)
    assert done.returncode == 3
    assert "'fifo' is a fifo" in done.stderr


@pytest.mark.parametrize("store", [(), ("--store", "elsewhere")])
def test_where_no_manifest_is_gc_removes_what_imports_left(
    cli: CommandLine, directory: Path, store: tuple[str, ...]
) -> None:
    path = imported(cli, directory, "tree", "one", *store).path
    done = cli("gc", "--dry-run", *store, cwd=directory)
    assert (done.returncode, path.exists(), "would be freed" in done.stdout) == (0, True, True)
    done = cli("gc", *store, cwd=directory)
    assert (done.returncode, done.stderr, path.exists()) == (0, "", False)
    assert cli("gc", *store, cwd=directory).stdout == "Nothing to remove.\n"


@pytest.mark.parametrize("named", [("vm.toml",), ()])
def test_a_manifest_that_can_not_be_read_is_not_taken_for_none(
    cli: CommandLine, directory: Path, named: tuple[str, ...]
) -> None:
    path = imported(cli, directory, "tree", "one").path
    if not named:
        (directory / "vm.toml").symlink_to("gone.toml")
    done = cli("gc", *named, cwd=directory)
    assert (done.returncode, path.exists()) == (0, True)
    assert "can't read the manifest" in done.stderr


def test_where_no_manifest_is_what_vms_stand_on_stays(cli: CommandLine, directory: Path) -> None:
    text = '[image.one.rootfs]\ntar = "root.tar"\n[vm.web]\nimage = "one"\n'
    (directory / "vm.toml").write_text(text)
    assert cli("apply", "-q", cwd=directory).returncode == 0
    (directory / "vm.toml").unlink()
    before = files(directory / "build")
    assert cli("gc", cwd=directory).stdout == "Nothing to remove.\n"
    assert files(directory / "build") == before


def test_the_store_is_the_manifests_where_there_is_one(cli: CommandLine, directory: Path) -> None:
    (directory / "vm.toml").write_text('[store]\npath = "disks"\n[image.a.rootfs]\ntar = "root.tar"\n')
    assert imported(cli, directory, "tree", "one").path.is_relative_to(directory / "disks")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.tar", "one"), "'gone.tar' is not there"),
        (("root.tar", "Up"), "image.Up: 'Up' is no name for an image"),
        (("root.tar", "one", "--size", "much"), "error: --size is 'much'"),
        (("root.tar", "one", "--size", "0"), "error: --size "),
        (("root.tar", "one", "--size", "9" * 5000), "error: --size is"),
        (("root.tar", "one", "--platform", "linux/amd64"), "--platform goes with 'oci' or 'dockerfile' only"),
        (("oci:layout:v9", "one"), "'oci:layout:v9' has no image with the tag 'v9'"),
        (("docker://Up", "one"), "names no image"),
    ],
)
def test_what_can_not_be_meant_is_one_plain_error_and_makes_no_store(
    cli: CommandLine, directory: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = cli("image", "import", *arguments, cwd=directory)
    assert done.returncode in {1, 3}
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not (directory / "build").exists()


def test_a_step_that_fails_is_told_and_nothing_is_printed(cli: CommandLine, directory: Path) -> None:
    (directory / "bad.tar").write_bytes((directory / "root.tar").read_bytes()[:1500])
    done = cli("image", "import", "bad.tar", "one", cwd=directory)
    assert (done.returncode, done.stdout) == (1, "")
    assert "bad.tar" in done.stderr


MANIFEST = """\
[image.debian]
rootfs.tar = "root.tar"
[image.web]
rootfs.image = "debian"
file = [{ guest = "/etc/motd", content = "hello" }]
[image.container]
rootfs.oci = "oci:layout:v1"
[vm.one]
image = "web"
[vm.two]
image = "web"
"""


@pytest.fixture
def project(directory: Path, cli: CommandLine) -> Path:
    (directory / "vm.toml").write_text(MANIFEST)
    done = cli("apply", "-q", cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory


def test_images_are_listed_with_their_source_and_what_stands_on_them(cli: CommandLine, project: Path) -> None:
    done = cli("image", "ls", cwd=project)
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["NAME", "FINGERPRINT", "SIZE", "ALLOCATED", "SOURCE", "KERNEL", "USED", "BY"]
    names = [row.split()[0] for row in rows]
    assert names == ["container", "debian", "web"]
    assert rows[0].endswith("oci:layout:v1  -       -")
    assert rows[1].endswith("root.tar       -       image.web")
    assert rows[2].endswith("image debian   -       vm.one, vm.two")


def test_an_older_image_is_listed_as_long_as_it_is_there(cli: CommandLine, project: Path) -> None:
    write_tar(project / "root.tar", {**DEBIAN, "new": ""})
    cli("apply", "-q", "--target", "image.debian", cwd=project)
    rows = cli("image", "ls", cwd=project).stdout.splitlines()[1:]
    assert [row.split("  ")[0].strip() for row in rows] == ["container", "debian", "debian (old)", "web"]
    assert rows[1].endswith("-")
    assert rows[2].endswith("image.web")


def test_one_image_is_shown_with_all_that_is_known_of_it(cli: CommandLine, project: Path) -> None:
    document = json.loads(cli("image", "show", "container", "--json", cwd=project).stdout)
    assert document["source"] == "oci:layout:v1"
    assert document["pin"]["platform"] == "linux/amd64"
    assert document["config"]["env"] == ["A=b"]
    text = cli("image", "show", "container", cwd=project).stdout
    for line in (
        "source       oci:layout:v1",
        "platform     linux/amd64",
        "config env   A=b",
        "used by      nothing",
    ):
        assert line in text.splitlines()


def test_an_image_may_be_named_by_its_fingerprint(cli: CommandLine, project: Path) -> None:
    document = json.loads(cli("image", "ls", "--json", cwd=project).stdout)
    web = next(image for image in document["images"] if image["name"] == "web")
    assert (project / "build" / web["path"]).is_file()
    assert web["used_by"] == ["vm.one.root", "vm.two.root"]
    done = cli("image", "show", web["fingerprint"][:10], cwd=project)
    assert done.stdout.splitlines()[0] == "name         web"


def test_an_image_that_is_not_there_is_told_with_those_that_are(cli: CommandLine, project: Path) -> None:
    done = cli("image", "show", "gone", cwd=project)
    assert (done.returncode, done.stderr) == (
        3,
        "error: no image 'gone' is in the store\n  hint: there are: container, debian, web\n",
    )


def test_where_no_store_is_there_are_no_images(cli: CommandLine, directory: Path) -> None:
    done = cli("image", "ls", cwd=directory)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert cli("image", "show", "a", cwd=directory).returncode == 3
