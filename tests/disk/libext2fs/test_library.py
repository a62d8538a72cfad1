"""The library is loaded, or what is missing is named."""

from __future__ import annotations

import pytest

from bangerbuild.disk import libext2fs
from bangerbuild.disk.libext2fs import library
from bangerbuild.errors import LibraryError


def test_a_missing_library_names_the_package() -> None:
    with pytest.raises(LibraryError, match=r"libnone\.so\.9 can't be loaded") as caught:
        library._load("libnone.so.9", "libcom_err.so.2")
    assert caught.value.hint == "apt install e2fsprogs"


def test_a_library_without_a_function_is_too_old() -> None:
    with pytest.raises(LibraryError, match="libext2fs is too old: it has no ext2fs_open2") as caught:
        library._load("libcom_err.so.2", "libcom_err.so.2")
    assert caught.value.hint == "version 1.46 or newer: apt install e2fsprogs"


@pytest.mark.parametrize("text", ["1.45.7", "1.9", "0.5b-WIP", ""])
def test_a_version_below_1_46_is_refused(text: str) -> None:
    with pytest.raises(LibraryError, match="is too old"):
        library.check_version(text)


@pytest.mark.parametrize("text", ["1.46.5", "1.47.0", "1.47.3-rc2", "2.0"])
def test_a_version_from_1_46_on_is_taken(text: str) -> None:
    library.check_version(text)


def test_the_loaded_library_tells_its_version() -> None:
    assert libext2fs.version().startswith("1.")
