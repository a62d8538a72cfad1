"""`image show NAME --provenance` of an image that was built."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from tests.in_process import run
from tests.need import need
from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MANIFEST = '[image.small]\nrootfs = { directory = "tree", size = "16MiB" }\n'


def test_an_image_tells_what_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small(tmp_path, MANIFEST)
    monkeypatch.chdir(tmp_path)
    run("apply", "-q")
    text = run("image", "show", "small", "--provenance")[1]
    found = json.loads(text)
    (subject,) = found["subject"]
    summed = subprocess.run(
        [need("sha256sum", "coreutils"), f"build/{subject['name']}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert subject["digest"] == {"sha256": summed.stdout.split()[0]}
    definition = found["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["image"]["rootfs.size"] == 16 << 20
    assert [one["name"] for one in definition["resolvedDependencies"]] == ["rootfs.directory"]
    assert "e2fsprogs" in definition["internalParameters"]["tools"]
    assert run("image", "show", "small", "--provenance")[1] == text
