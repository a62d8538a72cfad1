"""The public interface: what `from bangerbuild import …` gives, and the examples of its page."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import bangerbuild
from bangerbuild import RunOptions, Silent, Verb, apply, load, plan
from bangerbuild.errors import ManifestError, StalePlanError, UsageError
from bangerbuild.model import Plan
from tests import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = PROJECT / "docs" / "api.md"
MANIFEST = """\
[image.small.rootfs]
directory = "tree"
size = "24MiB"

[vm.web]
image = "small"
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "vm.toml").write_text(MANIFEST)
    return tmp_path


def test_a_manifest_is_loaded_planned_and_applied(project: Path) -> None:
    loaded = load([project / "vm.toml"])
    made = plan(loaded)
    assert {action.id: action.verb for action in made.actions} == {
        "image.small.rootfs": Verb.CREATE,
        "vm.web.root": Verb.CREATE,
        "vm.web.root.patch": Verb.CREATE,
        "vm.web.launch": Verb.CREATE,
    }
    applied = apply(made, reporter=Silent())
    assert [result.outcome.value for result in applied.results] == ["done"] * 4
    assert {action.verb for action in plan(load()).actions} == {Verb.KEEP}


def test_a_reviewed_plan_is_done_only_while_it_holds(project: Path) -> None:
    apply(load())
    (project / "vm.toml").write_text(MANIFEST.replace("80", "81"))
    reviewed = plan(load())
    assert [action.id for action in reviewed.actions if action.verb is Verb.UPDATE] == ["vm.web.root.patch"]
    apply(load())
    with pytest.raises(StalePlanError, match=r"no longer holds: vm\.web\.root\.patch") as caught:
        apply(reviewed)
    assert caught.value.details == "vm.web.root.patch: update -> keep"


def test_a_plan_from_elsewhere_is_not_applied(project: Path) -> None:
    with pytest.raises(TypeError, match="was not made by"):
        apply(Plan(project, ()))


@pytest.mark.parametrize("given", [None, "vm.toml", {}])
def test_what_is_neither_a_plan_nor_loaded_is_a_type_error_in_words(given: object) -> None:
    with pytest.raises(TypeError, match=r"`bangerbuild\.plan` gives is asked for, and"):
        apply(given)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"what `bangerbuild\.load` gives is asked for, and"):
        plan(given)  # type: ignore[arg-type]


def test_options_of_another_type_are_a_type_error_in_words(project: Path) -> None:
    with pytest.raises(TypeError, match="RunOptions is asked for, and int was given"):
        apply(load([project / "vm.toml"]), options=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "brief"),
    [
        ({"jobs": 0}, "jobs is 0"),
        ({"jobs": -1}, "jobs is -1"),
        ({"lock_seconds": -1.0}, "lock_seconds is -1.0"),
        ({"lock_seconds": float("nan")}, "lock_seconds is nan"),
    ],
)
def test_options_that_nothing_can_be_done_with_are_refused(options: dict[str, Any], brief: str) -> None:
    with pytest.raises(UsageError, match=brief) as caught:
        RunOptions(**options)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 1.5}, "a whole number for jobs is asked for, and float was given"),
        ({"jobs": True}, "a whole number for jobs is asked for, and bool was given"),
        ({"lock_seconds": "60"}, "a number for lock_seconds is asked for, and str was given"),
        ({"keep_going": 1}, "True or False for keep_going is asked for, and int was given"),
        ({"previews": None}, "True or False for previews is asked for, and NoneType was given"),
    ],
)
def test_an_option_of_another_type_is_a_type_error_in_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        RunOptions(**options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"manifests": b"vm.toml"}, r"b'vm\.toml' is one name where a list of them is asked for"),
        ({"manifests": [b"vm.toml"]}, "a path for each item of manifests is asked for, and bytes was given"),
        ({"manifests": 1}, "a list of manifests is asked for, and int was given"),
        ({"store": 1}, "a path for store is asked for, and int was given"),
        ({"targets": [1]}, "a name for each item of targets is asked for, and int was given"),
        ({"replace": [1]}, "a name for each item of replace is asked for, and int was given"),
        ({"upgrade": [None]}, "a name for each item of upgrade is asked for, and NoneType was given"),
        ({"locked": 1}, "True or False for locked is asked for, and int was given"),
        ({"offline": "no"}, "True or False for offline is asked for, and str was given"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_is_loaded_with_another_type_is_a_type_error_in_words(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        load(**given)


@pytest.mark.parametrize("reporter", [object(), Silent, 0, print])
@pytest.mark.usefixtures("project")
def test_what_can_report_nothing_is_refused_before_anything_is_done(project: Path, reporter: object) -> None:
    loaded = load()
    with pytest.raises(TypeError, match="a reporter is asked for, and"):
        apply(loaded, reporter=reporter)  # type: ignore[arg-type]
    assert not loaded.store.exists()
    assert sorted(path.name for path in project.iterdir()) == ["tree", "vm.toml"]


def test_a_manifest_error_lists_its_problems(project: Path) -> None:
    (project / "vm.toml").write_text('[vm.web]\nimage = "smal"\nmemory = "none"\n')
    with pytest.raises(ManifestError) as caught:
        load()
    first, *more = str(caught.value).splitlines()
    assert first.startswith("vm.toml:2: vm.web.image: ")
    assert any(line.startswith("vm.toml:3: vm.web.memory: ") for line in more)
    assert caught.value.brief == "2 problems"


def test_everything_public_comes_with_a_star() -> None:
    found: dict[str, object] = {}
    exec("from bangerbuild import *", found)  # noqa: S102  # it is allowed in no function
    assert set(bangerbuild.__all__) == set(bangerbuild._HOMES) == found.keys() - {"__builtins__"}


def test_an_image_to_upgrade_that_is_not_declared_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="no image is called 'zzz'") as caught:
        load([project / "vm.toml"], upgrade=["small", "zzz"])
    assert caught.value.hint == "known: small"


def test_every_public_name_is_there_and_described() -> None:
    page = PAGE.read_text(encoding="utf-8")
    names = set(bangerbuild._HOMES)
    assert names <= set(dir(bangerbuild))
    assert [
        name for name in sorted(names) if getattr(bangerbuild, name) is None or f"`{name}" not in page
    ] == []


@pytest.mark.parametrize("option", ["manifests", "targets", "replace", "upgrade"])
def test_one_name_where_a_list_is_asked_for_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match=r"give \['vm'\]"):
        load(**{option: "vm"})  # type: ignore[arg-type]  # that is what is tested


def test_the_package_is_imported_without_its_parts() -> None:
    program = "import sys, bangerbuild; print([m for m in sys.modules if m.startswith('bangerbuild.')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = bangerbuild.nothing


def test_the_examples_of_the_page_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102  # they are this project's own
    assert "create image.small.rootfs" in capsys.readouterr().out
