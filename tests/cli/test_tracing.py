"""`apply --trace FILE` of a real build, read by a reader of the format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bangerbuild.errors import UsageError
from tests.in_process import run
from tests.projects import write_small
from tests.report.trace_reader import TraceReader

MANIFEST = """\
[image.small]
rootfs = { directory = "tree", size = "16MiB" }

[vm.web]
image = "small"
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
"""


WORDS = [
    ("--trace", "vm.toml"),
    ("-n", "--trace", "trace.json"),
    ("--cluster", "local:2", "--trace", "trace.json"),
]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_small(tmp_path, MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def traced(*arguments: str) -> TraceReader:
    run("apply", "-q", "--trace", "trace.json", *arguments)
    return TraceReader(json.loads(Path("trace.json").read_text()))


def test_a_run_is_traced_with_its_phases_and_each_step_once() -> None:
    found = traced("-j", "2")
    steps = {"image.small.rootfs", "vm.web.root", "vm.web.root.patch", "vm.web.launch"}
    assert sorted(found.names("step")) == sorted(steps)
    assert found.parent("step", "vm.web.root.patch") == "vm.web.root"
    assert found.parents_of("publish") == {"execute"}
    phases = [name for name in found.names("phase") if name != "lock"]
    assert phases == ["load", "resolve", "plan", "execute"]
    assert found.bar("step", "image.small.rootfs")["args"]["bytes"] == 16 << 20
    assert set(found.processes.values()) == {"bangerbuild", "waits"}


def test_a_run_with_nothing_to_do_or_that_fails_is_traced_too(project: Path) -> None:
    run("apply", "-q")
    assert traced().names("step") == []
    (project / "vm.toml").write_text(MANIFEST.replace('"small"\n[[', '"smal"\n[['))
    assert traced().names("phase") == ["load"]


@pytest.mark.parametrize("words", WORDS)
def test_a_manifest_in_the_place_of_the_file_and_what_runs_nothing_here_are_refused(
    project: Path, words: tuple[str, ...]
) -> None:
    assert run("apply", *words)[0] == UsageError.exit_code
    assert (project / "vm.toml").read_text() == MANIFEST
    assert not (project / "trace.json").exists()
    assert not (project / "build").exists()
