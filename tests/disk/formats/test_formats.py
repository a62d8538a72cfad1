"""The registry of disk formats, and the schema that names the same ones."""

from __future__ import annotations

import json

import pytest

from bangerbuild.disk import formats
from bangerbuild.disk.formats import FORMATS, RAW
from bangerbuild.errors import StoreError
from bangerbuild.manifest import form


def test_the_schema_names_the_formats_of_the_registry() -> None:
    assert f'"enum": {json.dumps(list(FORMATS))}' in form.schema_text()


def test_each_format_is_registered_under_its_name() -> None:
    assert {name: one.name for name, one in FORMATS.items()} == {name: name for name in FORMATS}


@pytest.mark.parametrize("what", ["kind", "suffix"])
def test_no_two_formats_share_what_tells_them_apart(what: str) -> None:
    assert len({getattr(one, what) for one in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize(("file", "name"), [("vms/web/root.cow", "snapshot"), ("vms/web/data.ext4", "raw")])
def test_a_file_name_tells_the_format(file: str, name: str) -> None:
    assert formats.of_file(file).name == name
    assert formats.is_disk(file)


def test_what_no_format_knows_is_of_another_version() -> None:
    assert not formats.is_disk("vms/web/root.qed")
    with pytest.raises(StoreError, match=r"'vms/web/root\.qed' is a disk of no format"):
        formats.of_file("vms/web/root.qed")
    with pytest.raises(StoreError, match="has the format 'qed', which this version does not know"):
        formats.named("qed")


def test_a_disk_without_a_header_of_its_own_is_raw() -> None:
    assert formats.recognised(bytes(4096)) is RAW
