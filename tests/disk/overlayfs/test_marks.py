from __future__ import annotations

import pytest

from bangerbuild.disk.overlayfs import marks
from bangerbuild.errors import FilesystemError


def test_a_guest_sees_no_marks_and_its_own_attributes_by_their_names() -> None:
    stored = {
        "user.note": b"1",
        "trusted.overlay.origin": b"2",
        "trusted.overlay.overlay.opaque": b"3",
        "trusted.other": b"4",
    }
    assert marks.seen(stored) == {"user.note": b"1", "trusted.overlay.opaque": b"3", "trusted.other": b"4"}
    assert {marks.stored(name): value for name, value in marks.seen(stored).items()} == {
        name: value for name, value in stored.items() if name != "trusted.overlay.origin"
    }


def test_only_a_y_makes_a_directory_opaque() -> None:
    assert marks.is_opaque({"trusted.overlay.opaque": b"y"})
    assert not marks.is_opaque({"trusted.overlay.opaque": b"n"})
    assert not marks.is_opaque({})


def test_marks_of_the_lower_disks_inodes_are_no_reason_to_refuse_a_file() -> None:
    marks.refuse_unread({f"trusted.overlay.{name}": b"y" for name in ("origin", "impure", "uuid", "nlink")})
    with pytest.raises(FilesystemError, match="redirect"):
        marks.refuse_unread({"trusted.overlay.redirect": b"x"})
