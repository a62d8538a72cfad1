"""The registry of disk formats, and the schema that names the same ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import formats
from bangerbuild.disk.formats import FORMATS, RAW
from bangerbuild.errors import StoreError
from bangerbuild.launch.vmms import VMMS
from bangerbuild.manifest import form
from tests.disk.formats.toy import Delta, Toy

if TYPE_CHECKING:
    from bangerbuild.disk.formats.format import DiskFormat


def test_the_schema_names_the_formats_of_the_registry() -> None:
    assert f'"enum": {json.dumps(list(FORMATS))}' in form.schema_text()


def test_each_format_is_registered_under_its_name() -> None:
    assert {name: one.name for name, one in FORMATS.items()} == {name: name for name in FORMATS}


@pytest.mark.parametrize("what", ["kind", "suffix"])
def test_no_two_formats_share_what_tells_them_apart(what: str) -> None:
    assert len({getattr(one, what) for one in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize("one", [*FORMATS.values(), Toy(), Delta()], ids=lambda one: one.name)
def test_what_a_format_says_to_vmms_it_says_to_those_that_there_are(one: DiskFormat) -> None:
    attachment = one.attachment(f"root{one.suffix}", "../../image.ext4")
    told = {name for drive in attachment.drives for name in drive.options}
    assert told | attachment.refusals.keys() <= {vmm.name for vmm in VMMS}


@pytest.mark.parametrize("one", [*FORMATS.values(), Toy(), Delta()], ids=lambda one: one.name)
def test_the_doctor_knows_of_every_program_that_setting_a_root_up_runs(one: DiskFormat) -> None:
    setup = one.attachment(f"root{one.suffix}", "../../image.ext4").setup
    assert one.programs == (setup.programs if setup else ())
    for program in one.programs:
        assert program.purpose.split()[0].endswith("s")
        assert not program.purpose.endswith(".")


@pytest.mark.parametrize(("suffix", "name"), [(".cow", "snapshot"), (".ext4", "raw")])
def test_a_suffix_tells_the_format(suffix: str, name: str) -> None:
    assert formats.of_suffix(suffix).name == name
    assert formats.is_disk(f"vms/web/root{suffix}")


def test_a_users_copy_of_a_disk_is_a_disk_by_the_end_of_its_name() -> None:
    assert formats.is_disk("vms/web/root.before.cow")


@pytest.mark.parametrize("suffix", ["", ".qed", ".before.cow"])
def test_what_no_format_knows_is_of_another_version(suffix: str) -> None:
    with pytest.raises(StoreError, match=rf"a file '\*{suffix}', which is of no format"):
        formats.of_suffix(suffix)
    assert not formats.is_disk("vms/web/root.qed")
    with pytest.raises(StoreError, match="has the format 'qed', which this version does not know"):
        formats.named("qed")


def test_a_disk_without_a_header_of_its_own_is_raw() -> None:
    assert formats.recognised(bytes(4096)) is RAW
