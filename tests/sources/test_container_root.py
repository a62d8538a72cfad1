"""What a container runtime makes in an image's root, and whether the program is there."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.sources.container_root import directories, missing_program
from bangerbuild.tree import GuestDirectory, GuestSymlink
from tests.sources.roots import MadeUpRoot


@dataclass(frozen=True)
class Places:
    """The paths of an image's configuration."""

    working_dir: str = ""
    volumes: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("program", "search", "place", "is_there"),
    [
        ("/srv/app", None, "", True),
        ("./app", None, "/srv", True),
        ("./app", None, "", False),
        ("app", "/bin:/srv", "", True),
        ("app", "/bin:.", "srv", True),
        ("app", None, "", False),
        ("sh", None, "", True),
        ("/etc/passwd", None, "", False),
        ("/srv", None, "", False),
    ],
)
def test_a_program_that_is_not_there_is_told(
    program: str, search: str | None, place: str, *, is_there: bool
) -> None:
    root = MadeUpRoot("/bin/sh", "/srv/app", directories=("/srv",), files={"/etc/passwd": b""})
    env = {} if search is None else {"PATH": search}
    warnings = missing_program((program,), env, Places(place), root)
    assert [f"'{program}' is no executable file" in line for line in warnings] == ([] if is_there else [True])


def test_what_a_runtime_makes_is_made_where_it_is_missing() -> None:
    root = MadeUpRoot(directories=("/proc", "/there"))
    assert tuple(directories(Places("srv/../srv/app", ("/data", "/there")), root, "docker://x")) == (
        GuestDirectory("/dev", 0o755),
        GuestDirectory("/sys", 0o555),
        GuestDirectory("/run", 0o755),
        GuestDirectory("/tmp", 0o1777),
        GuestDirectory("/srv/app", 0o755),
        GuestDirectory("/data", 0o755),
        GuestSymlink("/etc/mtab", "/proc/mounts"),
    )


@pytest.mark.parametrize("places", [Places("/bin/sh"), Places(volumes=("/bin/sh",))])
def test_a_file_where_a_directory_must_be_is_refused(places: Places) -> None:
    with pytest.raises(SourceError, match="'docker://x' has a file at '/bin/sh'"):
        tuple(directories(places, MadeUpRoot("/bin/sh", directories=("/",)), "docker://x"))
