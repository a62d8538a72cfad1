"""What attaching a snapshot root runs and names; tests/boot/test_attach.py runs it with a kernel."""

from __future__ import annotations

from dataclasses import astuple

from bangerbuild.disk.formats import FORMATS, snapshot_device

SETUP = snapshot_device.setup("root.cow", "../image.ext4")
TEXT = f"{SETUP.functions}{SETUP.prepare}{SETUP.attach}{SETUP.detach}"


def test_the_scripts_speak_of_the_store_by_its_name_and_nothing_is_left_to_fill_in() -> None:
    assert "@STORE@" not in str(astuple(SETUP))
    assert "cow=$(readlink -f root.cow)" in SETUP.prepare
    assert SETUP.variables == {"image": "../image.ext4"}


def test_each_program_that_is_looked_for_is_run() -> None:
    for program in SETUP.programs:
        assert f"{program.name} " in TEXT


def test_the_doctor_looks_for_what_the_scripts_look_for() -> None:
    assert FORMATS["snapshot"].programs == SETUP.programs
