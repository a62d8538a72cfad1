"""What is shown of a guest file that would change, as JSON."""

from __future__ import annotations

from bangerbuild.model import FileDiff


def test_a_diff_has_all_keys_whatever_is_known() -> None:
    assert FileDiff("/etc/a", "-1\n").to_json() == {"guest": "/etc/a", "diff": "-1\n", "note": None}
    assert FileDiff("/etc/a", note="is made").to_json() == {
        "guest": "/etc/a",
        "diff": None,
        "note": "is made",
    }
