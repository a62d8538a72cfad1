"""Files of saved plans: told by content, written whole, and never over anything else."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from bangerbuild.errors import BangerError, UsageError
from bangerbuild.model.request import Request
from bangerbuild.planning import plan_file
from tests.planning.test_saved import SAVED


def test_a_file_is_its_owners_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        plan_file.write(tmp_path / "plan", SAVED)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "plan").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]
    assert plan_file.read(tmp_path / "plan") == SAVED


def test_an_older_plan_is_replaced_as_a_whole_through_a_symlink_too(tmp_path: Path) -> None:
    (tmp_path / "older").write_text("{}")
    (tmp_path / "older").chmod(0o644)
    (tmp_path / "plan").symlink_to("older")
    plan_file.refuse_to_overwrite(tmp_path / "plan")
    plan_file.write(tmp_path / "plan", SAVED)
    assert (tmp_path / "plan").is_symlink()
    assert stat.S_IMODE((tmp_path / "older").stat().st_mode) == 0o600
    assert plan_file.read(tmp_path / "older") == SAVED


def test_a_plan_is_told_by_its_content(tmp_path: Path) -> None:
    plan_file.write(tmp_path / "vm.toml", SAVED)
    (tmp_path / "plan.json").write_text('[vm.web]\nimage = "x"\n')
    os.mkfifo(tmp_path / "pipe")
    assert plan_file.is_one(tmp_path / "vm.toml")
    assert not any(plan_file.is_one(tmp_path / name) for name in ("plan.json", "pipe", "absent", ""))


def test_what_is_no_plan_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text("[vm.web]\n")
    (tmp_path / "empty").touch()
    plan_file.refuse_to_overwrite(tmp_path / "empty")
    plan_file.refuse_to_overwrite(tmp_path / "absent")
    with pytest.raises(UsageError, match="is there, and no saved plan"):
        plan_file.refuse_to_overwrite(tmp_path / "vm.toml")
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(UsageError, match="is no file that a plan can be written to"):
            plan_file.refuse_to_overwrite(path)


def test_one_that_can_not_be_used_says_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b'{"\xff')
    with pytest.raises(UsageError, match="it is damaged") as caught:
        plan_file.read(tmp_path / "plan")
    assert caught.value.hint == f"make it again: bangerbuild plan --out {tmp_path / 'plan'}"
    with pytest.raises(UsageError, match="can't read the plan"):
        plan_file.read(tmp_path)


def test_a_place_that_can_not_be_written_to_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(BangerError, match=r"can't write the plan '.*': no such file"):
        plan_file.write(tmp_path / "absent/plan", SAVED)


def test_paths_count_from_where_they_were_typed_as_long_as_the_manifests_are_there(tmp_path: Path) -> None:
    request = Request((Path("vm.toml"),), Path("build"), variable_files=(Path("v.toml"),))
    saved = replace(SAVED, request=request, directory=tmp_path)
    assert plan_file.request_of(saved, Path("/elsewhere")) == (request, Path("/elsewhere"))
    (tmp_path / "vm.toml").touch()
    found, at = plan_file.request_of(saved, Path("/elsewhere"))
    assert at == tmp_path
    assert (found.manifests, found.store) == ((tmp_path / "vm.toml",), tmp_path / "build")
    assert found.variable_files == (tmp_path / "v.toml",)
    assert plan_file.request_of(saved, tmp_path) == (request, tmp_path)


def test_a_store_inside_of_the_project_may_lie_elsewhere_tomorrow() -> None:
    assert plan_file.shown_store(Path("/a/build"), Path("/a")) == "build"
    assert plan_file.shown_store(Path("/srv/x"), Path("/a")) == "/srv/x"
