"""`bangerbuild explain` from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.in_process import run
from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MANIFEST = """\
[image.small]
rootfs = { directory = "tree", size = "16MiB" }
[vm.web]
image = "small"
work = false
"""


def test_one_step_is_one_document_and_several_are_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path, MANIFEST)
    monkeypatch.chdir(tmp_path)
    one = json.loads(run("explain", "image.small.rootfs", "--json")[1])
    assert (one["format"], one["id"], one["action"]) == (1, "image.small.rootfs", "create")
    several = json.loads(run("explain", "vm.web", "vm.toml", "--json")[1])
    assert [step["id"] for step in several["steps"]] == ["vm.web.root", "vm.web.root.patch", "vm.web.launch"]
    code, text = run("explain", "vm.web")
    assert code == 0
    pages = text.split("\n\n")
    assert [page.split(" ")[0] for page in pages] == ["vm.web.root", "vm.web.root.patch", "vm.web.launch"]
    assert run("explain", "vm.wbe")[0] == 3
