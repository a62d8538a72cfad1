"""What crosses to a node as JSON: it comes back as it was, and nothing is read that does not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import manifest
from bangerbuild.cluster import documents
from bangerbuild.cluster.documents import NOTHING_LOCAL, DocumentError, Paths
from bangerbuild.cluster.events import EVENTS, Finished, SentError, Started, events, line
from bangerbuild.declared import Manifest, Mount
from bangerbuild.model import HostPath
from bangerbuild.sources.tar import TarSource
from tests.manifests import EVERYTHING, KEY

if TYPE_CHECKING:
    from bangerbuild.cluster.events import Event
    from bangerbuild.model import Json

LOCAL: list[object] = []
MOUNT: dict[str, Any] = {"source": "tmpfs", "target": "/x", "fstype": "tmpfs"}


def kept(found: object) -> int:
    LOCAL.append(found)
    return len(LOCAL) - 1


HERE = Paths(kept, lambda _kind, document: LOCAL[int(str(document))])


def there_and_back(value: Any) -> Any:  # noqa: ANN401  # of any type
    document = json.loads(json.dumps(documents.encoded(value, HERE)))
    return documents.decoded(type(value), document, HERE, "it")


@pytest.fixture
def everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("bookworm.tar.zst", "disk.ext4", "disk.qcow2", "root.squashfs", "seed.cpio", "vmlinuz"):
        Path(name).touch()
    Path("images.toml").touch()
    Path(".gitconfig").touch()
    Path("runner.j2").write_text("{{ name }}")
    for name in ("skel", "tree", "tool", ".ssh"):
        Path(name).mkdir()
    Path("tool/Dockerfile").write_text("FROM debian:12 AS run\nARG A\n")
    Path(".ssh/id_ed25519.pub").write_text(KEY)
    Path("vm.toml").write_text(EVERYTHING)
    return manifest.load()


def test_a_manifest_with_every_key_of_the_language_comes_back_as_it_was(everything: Manifest) -> None:
    assert there_and_back(everything) == everything


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({**MOUNT, "bogus": 1}, "which nothing is called"),
        ({"source": "tmpfs"}, "lacks 'it.target'"),
        ({**MOUNT, "dump": "1"}, "a str at 'it.dump'"),
        ({**MOUNT, "dump": True}, "a bool at 'it.dump'"),
        ({**MOUNT, "options": ["a", 1]}, "a int at 'it.options\\[1\\]'"),
        ({**MOUNT, "options": "rw"}, "a str at 'it.options'"),
        (["tmpfs"], "a list at 'it'"),
    ],
)
def test_a_document_that_does_not_fit_is_refused_with_the_place_in_it(document: Json, said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        documents.decoded(Mount, document, NOTHING_LOCAL, "it")


@pytest.mark.parametrize("name", ["Popen", "Path", "ManifestReader", "", 7, None])
def test_no_class_is_made_that_is_no_kind_of_source(name: Json) -> None:
    with pytest.raises(DocumentError, match=r"at 'image\.is'"):
        documents.decoded_as_one_of(documents.KINDS, {"is": name, "path": 0}, HERE, "image")


def test_a_source_says_which_kind_it_is() -> None:
    source = TarSource(HostPath(Path("/x"), "x"), 1 << 20)
    document = documents.encoded(source, HERE)
    assert isinstance(document, dict)
    assert document["is"] == "TarSource"
    assert documents.decoded_as_one_of(documents.KINDS, document, HERE) == source


def test_what_no_document_has_is_a_bug_of_the_sender() -> None:
    with pytest.raises(TypeError, match="object can't be sent"):
        documents.encoded(object(), HERE)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x80\x04N.",
        documents.written({"a": 1})[:-1],
        documents.written([1]),
        documents.written({"a": "x" * 5000}),
    ],
    ids=["empty", "a pickle", "cut short", "no table", "too long"],
)
def test_a_message_that_is_no_document_of_its_size_is_refused(message: bytes) -> None:
    with pytest.raises(DocumentError):
        documents.parsed(message, 1000)


def test_events_come_back_as_they_were() -> None:
    told: list[Event] = [
        Started("vm.a.root"),
        Finished("vm.a.root", "failed", 0.5, SentError("no room", hint="make some")),
    ]
    assert list(events(b"".join(line(one) for one in told))) == told


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"is": "Exec"}', '{"is": "Finished", "id": "a", "outcome": "ok"}']
)
def test_a_line_that_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        list(events(text.encode()))


def test_every_event_can_be_written_without_what_is_local() -> None:
    for kind in EVENTS.values():
        for one in dataclasses.fields(kind):
            assert one.type not in {"HostPath", "Secret"}, kind
