"""`image show NAME --sbom` of an image that was built."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError, UsageError
from tests.in_process import run
from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = '[image.small]\nrootfs = { directory = "tree", size = "16MiB" }\n'


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_small(tmp_path, MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_image_tells_what_is_installed_in_it(project: Path) -> None:
    (project / "tree/var/lib/dpkg").mkdir(parents=True)
    status = "Package: curl\nStatus: install ok installed\nVersion: 7.88\nArchitecture: amd64\n"
    (project / "tree/var/lib/dpkg/status").write_text(status)
    run("apply", "-q")
    code, text = run("image", "show", "small", "--sbom")
    assert code == 0
    image, curl = json.loads(text)["packages"]
    assert (image["name"], curl["name"], curl["versionInfo"]) == ("small", "curl", "7.88")
    assert json.loads(text)["creationInfo"]["created"] == "2000-01-01T00:00:00Z"
    assert run("image", "show", "small", "--sbom") == (0, text)


def test_an_image_without_packages_and_two_forms_at_once_are_errors() -> None:
    run("apply", "-q")
    assert run("image", "show", "small", "--sbom")[0] == SourceError.exit_code
    assert run("image", "show", "small", "--sbom", "--json")[0] == UsageError.exit_code
