"""Records, and the step that each is of."""

from __future__ import annotations

import pytest

from bangerbuild.model import Recipe, Record

RECIPE = Recipe("k", {}, {}, {}, {})


@pytest.mark.parametrize(
    ("record_id", "step_id"),
    [
        ("vm.web.root", "vm.web.root"),
        ("image.a.rootfs@ff", "image.a.rootfs"),
        ("image.a.work_seed@16GiB", "image.a.work_seed@16GiB"),
        ("image.a.work_seed@16GiB@ff", "image.a.work_seed@16GiB"),
    ],
)
def test_a_record_that_is_kept_for_its_fingerprint_is_of_the_step_before_it(
    record_id: str, step_id: str
) -> None:
    assert Record(record_id, RECIPE, "ff", ()).step_id == step_id
