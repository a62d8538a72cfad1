"""What a team's registry no longer needs: listed first, and removed on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.commands import cache_gc
from bangerbuild.commands import push as pushing
from bangerbuild.errors import UsageError
from bangerbuild.model.request import Request
from tests.registry import running_registry

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.pipeline import Loaded


def loaded(place: Path) -> Loaded:
    return pipeline.load_request(Request((place / "vm.toml",)))


def test_what_an_edit_left_behind_is_listed_then_removed_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tree").mkdir()
    (tmp_path / "registry").mkdir()
    warned: list[str] = []
    with running_registry(tmp_path / "registry", deletes=True) as registry:
        for name, value in registry.environ.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "vm.toml").write_text(
            f'[cache]\npush = "docker://{registry.address}/team"\n[image.small.rootfs]\ndirectory = "tree"\n'
        )
        pushed = []
        for content in ("one", "two"):
            (tmp_path / "tree/file").write_text(content)
            pipeline.apply(loaded(tmp_path))
            pushed += [one.reference for one in pushing.push(loaded(tmp_path), (), lambda _one: None)]
        listed = cache_gc.collect(loaded(tmp_path), warned.append, removes=False)
        assert listed == cache_gc.collect(loaded(tmp_path), warned.append, removes=True) == (pushed[0],)
        assert cache_gc.collect(loaded(tmp_path), warned.append, removes=True) == ()
        assert warned == []
        (tmp_path / "bangerbuild.lock").unlink()
        assert cache_gc.collect(loaded(tmp_path), warned.append, removes=False) == ()
        assert "has no digest of any image" in warned[0]


def test_without_a_registry_nothing_is_collected(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "vm.toml").write_text('[image.small.rootfs]\ndirectory = "tree"\n')
    with pytest.raises(UsageError, match="names no registry"):
        cache_gc.collect(loaded(tmp_path), print, removes=False)


@pytest.mark.parametrize(
    ("found", "removed", "expected"),
    [
        ((), False, ["Nothing to remove."]),
        (
            ("docker://r/a:b",),
            False,
            ["  docker://r/a:b", "1 tag would be removed: bangerbuild gc --cache --yes"],
        ),
        (
            ("docker://r/a:b", "docker://r/a:c"),
            True,
            ["  docker://r/a:b", "  docker://r/a:c", "2 tags removed."],
        ),
    ],
)
def test_the_lines_say_what_was_done(found: tuple[str, ...], removed: bool, expected: list[str]) -> None:  # noqa: FBT001
    assert list(cache_gc.lines(found, removed=removed)) == expected
    assert cache_gc.to_json(found, removed=removed) == {
        "format": 1,
        "dry_run": not removed,
        "removed": list(found),
    }
