"""Container images by their reference: the transport says what kind of source it is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import pytest

from bangerbuild.formats.oci import reference
from bangerbuild.formats.oci.reference import parse_reference
from bangerbuild.sources.oci import TRANSPORTS, OciKind
from bangerbuild.sources.oci_archive import OciArchiveSource
from bangerbuild.sources.oci_layout import OciLayoutSource
from bangerbuild.sources.oci_registry import OciRegistrySource
from tests.sources.building import MIB, declared, problems, recipe

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import DataclassInstance

REFERENCES = {
    "docker://debian:12": OciRegistrySource,
    "oci:layout:v1": OciLayoutSource,
    "oci-archive:image.tar": OciArchiveSource,
    "docker-archive:image.tar:a:b": OciArchiveSource,
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """What the references name."""
    (tmp_path / "layout").mkdir()
    (tmp_path / "image.tar").touch()


@pytest.mark.parametrize("text", REFERENCES)
def test_the_transport_tells_the_source_and_every_source_takes_the_same_keys(
    tmp_path: Path, text: str
) -> None:
    source = declared(
        tmp_path,
        f'rootfs = {{ oci = "{text}", platform = "linux/aarch64", entrypoint = "/init", size = "1GiB" }}',
    ).rootfs
    assert source.__class__.__name__ == REFERENCES[text].__name__
    assert source.known_bytes == 1 << 30
    fields = dataclasses.asdict(cast("DataclassInstance", source))
    assert (fields["platform"], fields["entrypoint"]) == ("linux/arm64", "/init")
    assert recipe(source)["rootfs.entrypoint"] == "/init"


def test_each_transport_has_a_source() -> None:
    assert {parse_reference(text).transport for text in REFERENCES} == TRANSPORTS.keys()
    assert set(reference.TRANSPORTS) == TRANSPORTS.keys()


def test_the_kind_needs_the_programs_of_all_its_transports() -> None:
    assert set(OciKind.programs) == {program for kind in TRANSPORTS.values() for program in kind.programs}
    assert [program.name for program in OciKind.programs] == ["skopeo"]


@pytest.mark.parametrize("text", REFERENCES)
def test_a_command_line_names_one_by_its_transport(text: str) -> None:
    assert OciKind.claims(text)


@pytest.mark.parametrize("text", ["debian:12", "https://example.org/x", "layout", "", "ocix:a"])
def test_what_has_no_transport_is_none(text: str) -> None:
    assert not OciKind.claims(text)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('oci = "debian:12"', "oci"),
        ('oci = "oci:"', "oci"),
        ('oci = "oci:missing:v1"', "oci"),
        ('oci = "oci-archive:missing.tar"', "oci"),
        ('platform = "linux"', "platform"),
        ('entrypoint = "init"', "entrypoint"),
    ],
)
def test_each_fault_is_a_problem_of_its_line(tmp_path: Path, line: str, key: str) -> None:
    text = line if key == "oci" else f'{line}\noci = "docker://debian"'
    (problem,) = problems(tmp_path, "\n".join(f"rootfs.{part}" for part in text.splitlines()))
    assert (problem.line, problem.key) == (2, f"image.a.rootfs.{key}")


def test_a_seed_runs_no_program(tmp_path: Path) -> None:
    text = 'rootfs.oci = "docker://debian"\nwork_seed = { oci = "docker://debian", entrypoint = "/init" }'
    (problem,) = problems(tmp_path, text)
    assert problem.key == "image.a.work_seed.entrypoint"
    assert "a work disk runs nothing" in problem.message


def test_what_an_archive_is_called_and_may_unpack_to_decides_no_byte(tmp_path: Path) -> None:
    text = 'rootfs = {{ oci = "oci-archive:image.tar", platform = "linux/amd64"{} }}'
    plain = declared(tmp_path, text.format("")).rootfs
    assert recipe(plain) == recipe(declared(tmp_path, text.format(', max_size = "1MiB"')).rootfs)
    assert recipe(plain) == {
        "rootfs.transport": "oci-archive",
        "rootfs.tag": None,
        "rootfs.platform": "linux/amd64",
        "rootfs.size": None,
        "rootfs.entrypoint": None,
    }
    assert recipe(declared(tmp_path, text.format(', size = "1MiB"')).rootfs)["rootfs.size"] == MIB
