"""Every mistake in a manifest is told, all of them at once, each with its file, line and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bangerbuild.errors import ManifestError, Problem
from bangerbuild.manifest import load
from tests.manifest.loading import WEB, problems_of, write
from tests.manifests import EVERYTHING, KEY

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
    with pytest.raises(ManifestError) as caught:
        load([path])
    assert (caught.value.brief, caught.value.exit_code) == ("2 problems", 3)


def test_the_whole_language_is_understood() -> None:
    for name in ("bookworm.tar.zst", "disk.ext4", "disk.qcow2", "root.squashfs", "seed.cpio", "vmlinuz"):
        write(name, "")
    write("images.toml", "")
    write("runner.j2", "{{ name }}")
    for name in ("skel", "tree", "tool"):
        Path(name).mkdir(exist_ok=True)
    write("tool/Dockerfile", "FROM scratch AS run\nARG A\n")
    (Path.home() / ".ssh").mkdir(exist_ok=True)
    (Path.home() / ".ssh/id_ed25519.pub").write_text(KEY)
    (Path.home() / ".gitconfig").touch()
    loaded = load([write("vm.toml", EVERYTHING)])
    assert {*loaded.images} == {"bookworm", "a", "b", "c", "d", "e", "f", "g", "h"}
    tests = {"t-bookworm-1", "t-bookworm-2", "t-trixie-2"}
    assert {*loaded.vms} == {"web", "other", "placed", "runner-001", "runner-002", "runner-003", *tests}


def test_a_kernel_by_path_and_by_address_is_told_as_two_sources() -> None:
    found = problems_of('[image.a]\nrootfs.tar = "root.tar"\nkernel = { guest = "/a", url = "https://x/y" }')
    assert [problem.message for problem in found] == ["more than one source: guest and url"]


def test_each_bad_item_of_a_list_is_told() -> None:
    found = problems_of(WEB + "drop_mounts = [5, 6]\nssh_authorized_keys = [1]")
    assert [problem.key for problem in found] == [
        "vm.web.drop_mounts[0]",
        "vm.web.drop_mounts[1]",
        "vm.web.ssh_authorized_keys[0]",
    ]
