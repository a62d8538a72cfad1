"""A source as its step has it: the entries adapted, and what it was pinned to among the facts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.model import HostPath, Pin
from bangerbuild.sources.ext4 import Ext4Source
from bangerbuild.sources.other_image import OtherImage
from bangerbuild.sources.source import DiskImage, EntryTree, ImageArtifact
from bangerbuild.sources.tar import TarSource
from bangerbuild.sources.url import UrlSource
from bangerbuild.steps.image_content import FILESYSTEM, as_is, opened_source
from tests.projects import write_tar
from tests.sources.building import Context
from tests.steps.workspaces import OneStep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.tree import Entry


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "root.tar", {"etc/motd": "hello\n", "srv/a": ""})


def upper(entries: Iterator[Entry]) -> Iterator[Entry]:
    return (replace(entry, path=entry.path.upper()) for entry in entries)


def test_a_trees_entries_are_adapted_each_time_it_is_walked(tmp_path: Path, tar: Path) -> None:
    source = TarSource(HostPath(tar, "root.tar"), 1 << 20)
    with opened_source(source, OneStep(tmp_path), upper) as content:
        assert isinstance(content.data, EntryTree)
        assert (content.data.written, content.data.size_bytes) == ("root.tar", 1 << 20)
        for _ in range(2):
            with content.data.entries() as entries:
                assert {entry.path for entry in entries} >= {"ETC/MOTD", "SRV/A"}
        assert content.facts == {"form": "tree"}


def test_a_filesystem_is_passed_on_as_it_is(tmp_path: Path) -> None:
    source = Ext4Source(HostPath(tmp_path / "disk.ext4", "disk.ext4"))
    with opened_source(source, OneStep(tmp_path), upper) as content:
        assert content.data == DiskImage(tmp_path / "disk.ext4", "disk.ext4", None)
        assert content.facts == {"form": FILESYSTEM}


def test_another_image_has_a_form_of_its_own(tmp_path: Path) -> None:
    with opened_source(OtherImage("base"), OneStep(tmp_path), as_is) as content:
        assert content.data == ImageArtifact(tmp_path / "image.base.rootfs.ext4", "image base", None)
        assert content.facts == {"form": "image"}


def test_what_it_was_pinned_to_is_remembered(
    tmp_path: Path, tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = UrlSource(tar.as_uri())
    pin = source.ask(Context(), None)
    with opened_source(source, OneStep(tmp_path, pin=pin), as_is) as content:
        assert content.facts == {"pin": {"url": tar.as_uri(), "sha256": pin.digest}, "form": "tree"}


def test_a_source_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    source = UrlSource("https://example.org/x.tar")
    with (
        pytest.raises(SourceError, match="was never asked what it stands for"),
        opened_source(source, OneStep(tmp_path), as_is),
    ):
        pass


def test_a_file_that_is_not_what_it_is_pinned_to_is_not_opened(
    tmp_path: Path, tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    workspace = OneStep(tmp_path, pin=Pin("0" * 64))
    with (
        pytest.raises(Exception, match="is not what it must be"),
        opened_source(UrlSource(tar.as_uri()), workspace, as_is),
    ):
        pass
