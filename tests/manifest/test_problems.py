"""Every mistake in a manifest is told, all of them at once, each with its file, line and key."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import ManifestError, Problem
from bangerbuild.manifest import load
from bangerbuild.manifest.keys import public_keys
from bangerbuild.manifest.problems import InvalidValueError
from tests.manifests import EVERYTHING, KEY, MINIMAL

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = 'image.debian.rootfs.tar = "root.tar"\n[vm.web]\nimage = "debian"\n'
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with what the manifests of these tests name: the good and the bad."""
    monkeypatch.chdir(tmp_path)
    Path("root.tar").touch()
    Path("disk.ext4").touch()
    os.truncate("disk.ext4", 64 << 20)
    Path("tree").mkdir()
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("id").write_text(PRIVATE_KEY)
    Path("id.ppk").write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    Path("no.pub").write_text("# a comment\nhello\n")
    Path("empty.pub").write_text("# a comment\n\n")
    Path("binary.pub").write_bytes(b"\xff\xfe")
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        yield tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(*paths: Path) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        load(paths)
    return caught.value.problems


def problems_of(text: str) -> tuple[Problem, ...]:
    return problems(write("vm.toml", text))


# --- the files in `bad`: each a manifest with one mistake


BAD = Path(__file__).with_name("bad")
ERROR = re.compile(r"  # error: (?P<key>.*?): (?P<message>.*)$")
"""Ends the line that is to be named. `{cwd}` in the message is the current directory."""
HINT = "# hint: "
"""Begins the line after it, if there is a hint."""


def read_bad(path: Path) -> tuple[str, Problem]:
    """A manifest without its marks and its last line break, and the problem that the marks tell of."""
    lines = path.read_text().removesuffix("\n").split("\n")
    ((index, found),) = ((index, found) for index, line in enumerate(lines) if (found := ERROR.search(line)))
    lines[index] = lines[index][: found.start()]
    hint = None
    if index + 1 < len(lines) and lines[index + 1].startswith(HINT):
        hint = lines.pop(index + 1).removeprefix(HINT)
    message = found["message"].replace("{cwd}", str(Path.cwd()))
    return "\n".join(lines), Problem("vm.toml", index + 1, found["key"], message, hint)


@pytest.mark.parametrize("name", sorted(str(path.relative_to(BAD)) for path in BAD.glob("*/*.toml")))
def test_a_mistake_is_told_once_with_its_line_and_key(name: str) -> None:
    text, problem = read_bad(BAD / name)
    assert problems_of(text) == (problem,)


# --- files


def test_a_missing_manifest_says_how_to_name_one() -> None:
    (problem,) = problems(Path("vm.toml"))
    assert (problem.file, problem.line, problem.message) == (
        "vm.toml",
        0,
        "can't read the manifest: no such file or directory",
    )
    assert problem.hint == "write it, or name another manifest, such as: bangerbuild plan path/to/vm.toml"


def test_a_directory_is_no_manifest_but_may_hold_one() -> None:
    assert problems(Path("tree")) == (
        Problem(
            "tree",
            0,
            "",
            "can't read the manifest: is a directory",
            "name the file in it, such as tree/vm.toml",
        ),
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_manifest_or_source_is_told() -> None:
    write("closed.toml", "").chmod(0)
    Path("root.tar").chmod(0)
    (first, second) = problems(Path("closed.toml"), write("vm.toml", MINIMAL))
    assert first.message == "can't read the manifest: permission denied"
    assert second.message == "'root.tar' can't be read: permission denied"


def test_a_manifest_in_another_encoding_is_told_with_the_line() -> None:
    Path("vm.toml").write_bytes(b"a = 1\nb = '\xfc'\n")
    assert problems(Path("vm.toml")) == (Problem("vm.toml", 2, "", "not UTF-8: byte 0xfc on this line"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "not TOML that can be read: it is nested too deeply"),
        ("a = " + "9" * 5000, "not TOML that can be read: a number has too many digits"),
    ],
)
def test_toml_past_what_python_reads_is_told(text: str, message: str) -> None:
    assert problems_of(text) == (Problem("vm.toml", 0, "", message),)


# --- includes


def test_a_cyclic_include_is_told_as_a_path() -> None:
    write("a.toml", 'include = ["sub/b.toml"]')
    write("sub/b.toml", '# one line\ninclude = ["../a.toml"]')
    (problem,) = problems_of('include = ["a.toml"]')

    assert (problem.file, problem.line, problem.key) == ("sub/b.toml", 2, "include[0]")
    assert problem.message == "include cycle: a.toml -> sub/b.toml -> sub/../a.toml"


def test_a_mistake_in_an_included_file_names_that_file() -> None:
    write("sub/a.toml", "vmm = 1")
    write("sub/b.toml", "[vm\n")
    found = problems_of('include = ["sub/a.toml", "sub/b.toml"]')
    assert [(problem.file, problem.line) for problem in found] == [("sub/a.toml", 1), ("sub/b.toml", 1)]


def test_a_name_defined_in_two_files_is_told_with_both_places() -> None:
    write("a.toml", '\n[image.debian.rootfs]\ntar = "root.tar"\n[vm.web]\nimage = "debian"')
    found = problems_of('include = ["a.toml"]\n' + MINIMAL)

    assert [(problem.file, problem.line, problem.message) for problem in found] == [
        ("a.toml", 2, "image 'debian' is defined twice, first in image.debian (vm.toml:2)"),
        ("a.toml", 4, "vm 'web' is defined twice, first in vm.web (vm.toml:5)"),
    ]


def test_one_file_by_two_names_is_no_name_twice() -> None:
    Path("link.toml").symlink_to("vm.toml")
    assert list(load([write("vm.toml", MINIMAL), Path("link.toml")]).vms) == ["web"]


def test_only_the_first_file_may_have_a_store() -> None:
    write("a.toml", '# a comment\n[store]\npath = "x"')
    expected = (
        Problem("a.toml", 2, "store", "only the first manifest may have [store]", "move it to vm.toml"),
    )
    assert problems_of('include = ["a.toml"]') == expected
    assert problems(write("vm.toml", ""), Path("a.toml")) == expected


def test_an_image_that_a_broken_include_may_define_is_not_told_as_unknown() -> None:
    (problem,) = problems_of('include = ["gone.toml"]\n[vm.web]\nimage = "debian"')
    assert problem.key == "include[0]"


def test_two_vms_of_two_files_may_not_share_an_address() -> None:
    write("a.toml", '[vm.a]\nimage = "debian"\nnetwork.address = "10.0.0.2/24"')
    (problem,) = problems(write("vm.toml", WEB + 'network.address = "10.0.0.2/8"'), Path("a.toml"))
    assert (problem.file, problem.line) == ("a.toml", 3)
    assert problem.message == "more than one VM has the address '10.0.0.2': vm.web, vm.a"


# --- all at once


def test_mistakes_of_form_and_of_sense_are_told_in_one_go_by_line() -> None:
    found = problems_of("""\
[image.a.rootfs]
tarr = "root.tar"
[image.b]
rootfs.tar = "gone.tar"
kernel.url = "https://example.org/vmlinuz"
[vm.web]
image = "c"
memory = "much"
[[vm.web.file]]
guest = "/a"
[[vm.web.file]]
guest = "/run/b"
content = ""
mode = "rw"
[vm.other]
imgae = "a"
network = { address = "10.0.0.1", mode = 1 }
""")
    assert [(problem.line, problem.message) for problem in found] == [
        (2, "unknown key 'tarr'"),
        (4, f"'gone.tar' is not there ({Path.cwd() / 'gone.tar'})"),
        (7, "unknown image 'c'"),
        (8, "memory is 'much': give a number of bytes or a size such as \"2GiB\""),
        (9, "'content' is missing"),
        (12, "guest path '/run/b' is under the tmpfs on '/run'"),
        (14, "mode is 'rw': give an octal string such as \"0644\""),
        (16, "unknown key 'imgae'"),
        (17, "address is '10.0.0.1', without a prefix length"),
        (17, 'mode is 1: give "bootstrap" or "cmdline" or "none"'),
    ]


def test_the_error_counts_its_problems_and_ends_with_exit_code_3() -> None:
    path = write("vm.toml", "a = 1\nb = 2")
    with pytest.raises(ManifestError, match="2 problems") as caught:
        load([path])
    assert caught.value.exit_code == 3


def test_a_mistake_in_the_defaults_is_told_once_for_all_vms() -> None:
    vms = "".join(f"[vm.v{number}]\n" for number in range(9))
    found = problems_of(
        WEB + '[defaults]\nimage = "debian"\nmemory = 5\n[[defaults.file]]\nguest = "a"\ncontent = ""\n' + vms
    )
    assert [(problem.line, problem.key) for problem in found] == [
        (6, "defaults.memory"),
        (8, "defaults.file[0].guest"),
    ]


def test_the_whole_language_is_understood() -> None:
    for name in ("bookworm.tar.zst", "disk.ext4", "vmlinuz"):
        write(name, "")
    write("images.toml", "")
    for name in ("skel", "tree"):
        Path(name).mkdir(exist_ok=True)
    (Path.home() / ".ssh").mkdir(exist_ok=True)
    (Path.home() / ".ssh/id_ed25519.pub").write_text(KEY)
    (Path.home() / ".gitconfig").touch()
    loaded = load([write("vm.toml", EVERYTHING)])
    assert {*loaded.images, *loaded.vms} == {"bookworm", "a", "b", "c", "d", "e", "web", "other"}


def test_nothing_is_said_of_a_vms_disks_where_its_image_is_not_known() -> None:
    found = problems_of("""\
[image.refused]
rootfs.tar = "root.tar"
work_seed = 5
[image.later]
rootfs.tar = "root.tar"
work_seed.oci = "oci:a:b"
[vm.a]
image = "refused"
work.mount = "/a"
[vm.b]
image = "later"
work.mount = "/b"
[vm.c]
image = "gone"
work.mount = "/c"
""")
    assert [problem.key for problem in found] == [
        "image.refused.work_seed",
        "image.later.work_seed.oci",
        "vm.c.image",
    ]


def test_a_kernel_by_path_and_by_address_is_told_as_two_sources() -> None:
    found = problems_of('[image.a]\nrootfs.tar = "root.tar"\nkernel = { guest = "/a", url = "https://x/y" }')
    assert [problem.message for problem in found] == ["more than one source: guest and url"]


def test_disks_without_a_fit_name_or_mount_point_are_not_compared() -> None:
    found = problems_of(
        WEB
        + """\
disk = [
  { name = "root", size = "1G", mount = "/a" }, { name = "work", size = "1G", mount = "/a" },
  { name = "a", size = "1G", mount = "/" }, { name = "b", size = "1G", mount = "/" },
]
"""
    )
    assert [problem.key for problem in found] == [
        "vm.web.disk[0].name",
        "vm.web.disk[1].name",
        "vm.web.disk[2].mount",
        "vm.web.disk[3].mount",
    ]


def test_what_the_schema_refuses_of_a_disk_hides_no_other_mistake() -> None:
    found = problems_of(
        WEB
        + """\
[[vm.web.disk]]
name = "Data"
size = "1GiB"
mount = "/a"
[[vm.web.disk]]
name = "root"
size = "1MiB"
mount = "/"
"""
    )
    assert [problem.key for problem in found] == [
        "vm.web.disk[0].name",
        "vm.web.disk[1].name",
        "vm.web.disk[1].size",
        "vm.web.disk[1].mount",
    ]


def test_each_bad_item_of_a_list_is_told() -> None:
    found = problems_of(WEB + "drop_mounts = [5, 6]\nssh_authorized_keys = [1]")
    assert [problem.key for problem in found] == [
        "vm.web.drop_mounts[0]",
        "vm.web.drop_mounts[1]",
        "vm.web.ssh_authorized_keys[0]",
    ]


# --- keys


@pytest.mark.parametrize("text", [PRIVATE_KEY, "id", "id.ppk"])
def test_nothing_of_a_private_key_is_shown(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        public_keys(text, Path())
    assert "c2VjcmV0" not in f"{caught.value} {caught.value.hint}"


@given(
    st.text(max_size=40)
    | st.builds(lambda at, odd: KEY[:at] + odd + KEY[at:], st.integers(0, len(KEY)), st.text(max_size=3))
)
def test_any_text_for_a_key_is_a_key_or_refused(text: str) -> None:
    try:
        keys = public_keys(text, Path("/nonexistent"))
    except InvalidValueError:
        return
    assert keys == (text.strip(),)
    assert not set("\0\r\n") & set(keys[0])
