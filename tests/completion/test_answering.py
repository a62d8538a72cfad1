"""What a shell is told: commands, options and their values, ids and names out of manifest and store."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.completion import answering
from tests import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = '''
# [vm.comment]
include = [
    "more.toml",   # a comment
    'gone.toml',
]
vm.dotted.image = "base"

[store]
path = "place"

[image.base]
rootfs = { directory = "tree" }

[ vm . spaced ]
image = "base"

[vm."quoted"]
[[vm.web.file]]
guest = "/x"
content = """
[vm.in_a_text]
"""
[vm.UPPER]
[fleet.runner]
names = ["r-{08..10}", "{broken"]
[vm]
below = { image = "base" }
[node.one]
[vm.half
'''


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "vm.toml").write_text(MANIFEST)
    (tmp_path / "more.toml").write_text("include = ['vm.toml']\n[vm.included]\n[network.lan]\n")
    (tmp_path / "place/vms/made").mkdir(parents=True)
    (tmp_path / "place/vms/made/data.ext4").touch()
    (tmp_path / "place/images/imported").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(line: str) -> list[str]:
    """The words that may come at the end of a line."""
    return [word for word, _ in answering.answer(line.split(" "))[1]]


VMS = ["below", "dotted", "included", "made", "quoted", "r-08", "r-09", "r-10", "spaced", "web"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bangerbuild boot ", VMS),
        ("bangerbuild ssh r-", ["r-08", "r-09", "r-10"]),
        ("bangerbuild stop web vm.sp", ["vm.spaced"]),
        ("bangerbuild image show ", ["base", "imported"]),
        ("bangerbuild lock --upgrade=b", ["--upgrade=base"]),
        ("bangerbuild plan --node ", ["one"]),
        ("bangerbuild plan --target ", ["fleet.", "image.", "network.", "vm."]),
        ("bangerbuild plan --target vm.w", ["vm.web"]),
        ("bangerbuild plan --target=vm.w", ["--target=vm.web"]),
        ("bangerbuild plan --target = vm.w", ["vm.web"]),
        ("bangerbuild plan --target =", ["fleet.", "image.", "network.", "vm."]),
        ("bangerbuild explain vm.made.d", ["vm.made.disk.data", "vm.made.disk.data.patch"]),
        ("bangerbuild cat image.imported.r", ["image.imported.rootfs"]),
        ("bangerbuild cat vm.web ", []),
        ("bangerbuild show vm.we", ["vm.web"]),
        ("bangerbuild boot --manifest more.toml inc", ["included"]),
        ("bangerbuild boot --store elsewhere ma", []),
        ("bangerbuild boot --vmm q", ["qemu"]),
        ("bangerbuild boot --vmm=f", ["--vmm=firecracker"]),
        ("bangerbuild ima", ["image"]),
        ("bangerbuild image ", ["import", "ls", "show"]),
        ("bangerbuild apply --lock", ["--locked", "--lock-timeout"]),
        ("bangerbuild ssh web -- --", []),
        ("bangerbuild no-such-command ", []),
    ],
)
def test_words_are_completed(line: str, words: list[str]) -> None:
    assert sorted(found(line)) == sorted(words)


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("bangerbuild apply ", answering.FILES),
        ("bangerbuild apply --store ", answering.DIRECTORIES),
        ("bangerbuild apply --store=", answering.DIRECTORIES),
        ("bangerbuild cat ", answering.FILES),
        ("bangerbuild boot ", answering.NOTHING),
        ("bangerbuild ssh web -i ", answering.FILES),
    ],
)
def test_paths_are_left_to_the_shell(line: str, paths: str) -> None:
    assert answering.answer(line.split(" "))[0] == paths


def test_a_manifest_that_is_not_there_and_one_of_nonsense_give_no_names(place: Path) -> None:
    (place / "vm.toml").write_bytes(b"\xff[[[=\"'''" * 1000)
    assert found("bangerbuild boot ") == []
    (place / "vm.toml").unlink()
    assert found("bangerbuild boot ") == []


def test_thousands_of_names_are_found(place: Path) -> None:
    (place / "vm.toml").write_text("".join(f"[vm.v{number}]\nimage = 'base'\n" for number in range(5000)))
    assert len(found("bangerbuild boot ")) == 5000


def test_nothing_heavy_is_loaded_for_an_answer() -> None:
    script = (
        "import sys, os; os._exit = lambda code: print(*sys.modules, file=sys.stderr)\n"
        "sys.argv = ['bangerbuild', 'completion', 'answer', 'bangerbuild', 'boot', '']\n"
        "import bangerbuild.entry\n"
        "try:\n bangerbuild.entry.main()\nfinally:\n pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:2] == ["nothing", "below"]
    loaded = set(done.stderr.splitlines()[0].split())
    assert loaded & {"click", "networkx", "jsonschema", "sqlite3", "tomllib", "jinja2", "pathlib"} == set()


def test_the_table_is_that_of_the_command_line() -> None:
    made = subprocess.run([sys.executable, PROJECT / "tools/completion.py"], capture_output=True, check=True)
    table = PROJECT / "bangerbuild/completion/commands.json"
    assert table.read_bytes() == made.stdout, "tools/completion.py > bangerbuild/completion/commands.json"
