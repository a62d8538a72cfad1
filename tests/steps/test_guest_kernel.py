from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from bangerbuild.disk.formats import FORMATS
from bangerbuild.steps import guest_kernel
from tests.guest.view import DictView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.model import Json, View

KERNEL, INITRD = "image.x.kernel", "image.x.initrd"
MODULE = "/lib/modules/6.1/kernel/fs/overlayfs/overlay.ko"
HAS_MODULE = DictView({MODULE: b"", "/sbin/modprobe": b""})


@dataclass(frozen=True)
class Facts:
    """Of a view only what the steps remember."""

    of: Mapping[str, Mapping[str, Json]]

    def facts(self, step_id: str) -> Mapping[str, Json]:
        return self.of.get(step_id, {})


def warnings(
    answer: str | None, guest: DictView, initrd: Mapping[str, Json] | None = None, name: str = "overlay"
) -> list[str]:
    facts: dict[str, Mapping[str, Json]] = {KERNEL: {"release": "6.1", "options": {"OVERLAY_FS": answer}}}
    steps: tuple[str, ...] = (KERNEL,)
    if initrd is not None:
        facts[INITRD], steps = initrd, (KERNEL, INITRD)
    return list(guest_kernel.warnings(cast("View", Facts(facts)), steps, FORMATS[name], guest))


@pytest.mark.parametrize("answer", ["y", None])
def test_nothing_is_said_of_a_kernel_that_has_it_or_of_which_nothing_is_known(answer: str | None) -> None:
    assert warnings(answer, DictView()) == []


def test_a_kernel_that_was_built_without_it_is_named() -> None:
    (warning,) = warnings("n", HAS_MODULE)
    assert "kernel 6.1 has no CONFIG_OVERLAY_FS" in warning


def test_a_module_may_be_in_the_image_with_what_loads_it_or_in_the_initrd() -> None:
    assert warnings("m", HAS_MODULE) == []
    assert warnings("m", DictView({f"{MODULE}.xz": b"", "/usr/sbin/modprobe": b""})) == []
    assert warnings("m", DictView(), {"modules": ["overlay"]}) == []


@pytest.mark.parametrize("guest", [DictView(), DictView({MODULE: b""}), DictView({"/sbin/modprobe": b""})])
@pytest.mark.parametrize("initrd", [None, {"modules": []}])
def test_a_module_that_is_in_neither_is_said(guest: DictView, initrd: Mapping[str, Json] | None) -> None:
    (warning,) = warnings("m", guest, initrd)
    assert "neither the image (/lib/modules/6.1) nor the initrd holds it" in warning


@pytest.mark.parametrize("initrd", [{}, {"modules": None}])
def test_an_initrd_that_was_not_looked_into_is_given_the_benefit(initrd: Mapping[str, Json]) -> None:
    assert warnings("m", DictView(), initrd) == []


def test_other_formats_ask_for_nothing() -> None:
    assert warnings("n", DictView(), name="snapshot") == []
