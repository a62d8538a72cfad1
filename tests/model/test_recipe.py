"""Records, and the step that each is of."""

from __future__ import annotations

import pytest

from bangerbuild.errors import StoreError
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


def test_a_fact_that_every_such_record_has_is_given_or_missed_with_the_way_out() -> None:
    record = Record("vm.web.root", RECIPE, "ff", ("vms/web/root.cow",), {"file_bytes": 7, "base": None})
    assert record.fact("file_bytes") == 7
    for key in ("base", "format"):
        with pytest.raises(StoreError, match=f"'vm.web.root' is damaged: it does not say '{key}'") as caught:
            record.fact(key)
        assert "bangerbuild recover" in str(caught.value.hint)
