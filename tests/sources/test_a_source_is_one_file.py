"""A kind of source that only these tests have: put into the registry, it goes through every command."""

from __future__ import annotations

import hashlib
import io
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import pytest

from bangerbuild import sources
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import SourceError
from bangerbuild.host.process import Program
from bangerbuild.manifest import form
from bangerbuild.model import NO_RECIPE, Pin
from bangerbuild.sources.bases import Elsewhere, Independent
from bangerbuild.sources.source import Content, EntryTree, required_pin
from bangerbuild.tree import Entry, EntryType
from tests.disk.ext4_tools import assert_clean, debugfs
from tests.in_process import actions, document, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import AskContext, LockWords, OpenContext, SourceTable

POEMS = {"spring": "green\n", "autumn": "brown\n"}
"""What there is in the world, by name; a test may change it."""
MANIFEST = """\
[image.season]
rootfs = { poem = "spring", size = "24MiB" }

[vm.web]
image = "season"
root = { format = "raw" }
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
"""


@dataclass(frozen=True)
class PoemSource(Independent, Elsewhere):
    """`poem = "NAME"`: a root filesystem that holds a poem."""

    word: ClassVar[str] = "poem"
    keys: ClassVar[tuple[str, ...]] = ("language",)
    programs: ClassVar[tuple[Program, ...]] = (Program("poet", "writes poems"),)
    own_pin: ClassVar[Pin | None] = None

    name: str = field(metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})

    @classmethod
    def read(cls, table: SourceTable) -> Self | None:
        name = table.convert("poem", known)
        return cls(name, table.size("size")) if name else None

    @classmethod
    def claims(cls, text: str) -> bool:
        return text.startswith("poem:")

    @property
    def written(self) -> str:
        return f"poem {self.name}"

    @property
    def known_bytes(self) -> int | None:
        return self.size_bytes

    @property
    def lock_words(self) -> LockWords | None:
        return {"poem": self.name}

    def ask(self, context: AskContext, before: Pin | None) -> Pin:  # noqa: ARG002  # the world answers
        return Pin(digest(POEMS[self.name]))

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[Content]:
        text = POEMS[self.name]
        if digest(text) != required_pin(context, self.written).digest:
            raise SourceError(f"'{self.written}' is not what it is pinned to")

        @contextmanager
        def entries() -> Iterator[Iterator[Entry]]:
            yield iter(
                (
                    Entry("", EntryType.DIRECTORY),
                    Entry("etc", EntryType.DIRECTORY),
                    Entry(
                        "poem", EntryType.FILE, 0o644, size_bytes=len(text), content=io.BytesIO(text.encode())
                    ),
                )
            )

        yield Content(EntryTree(self.written, self.size_bytes, entries))


def known(text: str) -> str:
    if text not in POEMS:
        raise SourceError(f"'{text}' is no poem", hint=f"known: {', '.join(POEMS)}")
    return text


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry's line and the schema's part."""
    schema = form.schema()
    schema["$defs"]["source"]["properties"] |= {"poem": {"type": "string"}, "language": {"type": "string"}}
    monkeypatch.setitem(sources.FILESYSTEMS, "poem", PoemSource)
    monkeypatch.setattr(form, "schema", lambda: schema)
    form._form.cache_clear()
    yield
    form._form.cache_clear()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vm.toml").write_text(MANIFEST)
    return tmp_path


def guest_writes(disk: Path, name: str) -> None:
    """What a guest does to its root while it runs."""
    with (
        RawFile(disk, writable=True, durable=False) as blocks,
        Filesystem(blocks, writable=True, now=1) as root,
    ):
        root.write_file(f"/{name}", b"kept\n")


def test_its_table_is_validated(project: Path) -> None:
    assert run("validate") == (0, "")
    (project / "vm.toml").write_text(MANIFEST.replace('"spring"', '"winter"'))
    assert run("validate")[0] == 3
    (project / "vm.toml").write_text('[image.x.rootfs]\ntar = "vm.toml"\nlanguage = "en"\n')
    assert run("validate")[0] == 3


def test_it_is_locked_built_patched_verified_and_looked_into(project: Path) -> None:
    assert actions()["image.season.rootfs"] == "create"
    assert not (project / "bangerbuild.lock").exists()
    assert run("lock")[0] == 0
    locked = (project / "bangerbuild.lock").read_text()
    assert 'poem = "spring"\nsha256 = "' + digest(POEMS["spring"]) in locked
    assert run("apply", "--locked")[0] == 0
    image = next((project / "build/images/season").glob("*/rootfs.ext4"))
    assert_clean(image)
    assert debugfs(image, "cat /poem").decode() == POEMS["spring"]

    root = project / "build/vms/web/root.ext4"
    guest_writes(root, "guests")
    (project / "vm.toml").write_text(MANIFEST.replace("80", "81"))
    assert actions() == {
        "image.season.rootfs": "keep",
        "vm.web.root": "keep",
        "vm.web.root.patch": "update",
        "vm.web.launch": "keep",
    }
    assert run("apply")[0] == 0
    assert_clean(root)
    assert run("cat", str(root), "/etc/app.conf") == (0, "port = 81\n")
    assert "guests" in run("ls", str(root), "/")[1].splitlines()
    assert set(actions().values()) == {"keep"}

    checks = document("verify", "--rebuild")["checks"]
    assert {check["result"] for check in checks} == {"ok"}
    assert "rebuild" in {check["check"] for check in checks}
    assert {artifact["state"] for artifact in document("status")["artifacts"]} == {"current"}
    assert [one["source"] for one in document("image", "ls")["images"]] == ["poem spring"]
    assert document("gc", "-n")["removed"] == []


def test_what_it_stands_for_is_asked_once_and_moved_on_demand(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("apply")[0] == 0
    monkeypatch.setitem(POEMS, "spring", "greener\n")
    assert set(actions().values()) == {"keep"}
    code, said = run("lock", "--upgrade", "season")
    assert (code, said.split()[:2]) == (0, ["move", "image.season.rootfs"])
    assert actions()["image.season.rootfs"] == "create"
    assert run("apply", "--locked")[0] == 0
    removed = document("gc")["removed"]
    assert [waste["path"].split("/")[:2] for waste in removed] == [["images", "season"]]


def test_the_doctor_looks_for_its_program() -> None:
    assert "poet" in run("doctor")[1]


def test_an_image_is_imported_from_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POEMS, "poem:autumn", POEMS["autumn"])
    code, path = run("image", "import", "poem:autumn", "autumn", "-q")
    assert code == 0
    assert debugfs(Path(path.strip()), "cat /poem").decode() == POEMS["autumn"]
