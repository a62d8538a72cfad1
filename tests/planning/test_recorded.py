from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.errors import StoreError
from bangerbuild.planning.recorded import Recorded
from tests.fakes import FakeStep, built

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = FakeStep("image.a.rootfs", outputs=("images/a/{fingerprint}/rootfs.ext4",))


def test_what_was_made_is_known_and_what_was_not_is_named_with_the_way_out(tmp_path: Path) -> None:
    built([IMAGE], tmp_path / "build")
    view = Recorded(store.read(tmp_path / "build"))
    assert view.artifacts(IMAGE.id) == (view.artifact(IMAGE.id),)
    assert view.path(view.artifact(IMAGE.id)).is_file()
    assert dict(view.facts(IMAGE.id)) == dict(store.read(tmp_path / "build").records[IMAGE.id].facts)
    with pytest.raises(StoreError, match=r"'vm\.web\.root' was not made yet") as caught:
        view.facts("vm.web.root")
    assert caught.value.hint == "bangerbuild apply"
