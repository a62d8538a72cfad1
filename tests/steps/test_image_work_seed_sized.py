"""Seeds grown once to a size, for all work disks that want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import exact_size
from tests.projects import write_tar
from tests.steps.guest_disks import (
    GIB,
    MIB,
    allocated_bytes,
    ext4_seed,
    filesystem_bytes,
)
from tests.steps.seeds import FILES, host_tree, made, seed_of, vm

if TYPE_CHECKING:
    from tests.projects import Project


SEED, SEED_1G = "image.debian.work_seed", "image.debian.work_seed@1GiB"


def test_a_grown_seed_holds_what_the_seed_holds_and_little_more_is_allocated(debian: Project) -> None:
    ext4_seed(debian.directory / "skel.ext4", {"/data": b"\xa5" * (8 * MIB)})
    seed_of(debian, 'ext4 = "skel.ext4"', vm("web", "16GiB"))
    debian.build()
    seed, grown = made(debian), made(debian, "work-seed@16GiB")
    grown.assert_clean()
    assert filesystem_bytes(grown.path) == grown.path.stat().st_size == 16 * GIB
    assert grown.read("/data") == b"\xa5" * (8 * MIB)
    assert allocated_bytes(grown.path) <= 2 * allocated_bytes(seed.path)


def test_a_seed_that_has_the_size_already_is_cloned_as_it_is(debian: Project) -> None:
    ext4_seed(debian.directory / "skel.ext4", {"/a": b"a"})
    seed_of(debian, 'ext4 = "skel.ext4"', vm("web", "64MiB"))
    debian.build()
    assert made(debian).path.read_bytes() == made(debian, "work-seed@64MiB").path.read_bytes()


@pytest.mark.parametrize("source", ['tar = "skel.tar"', 'directory = "skel"'])
def test_a_size_below_the_seeds_is_an_error_before_anything_is_copied(debian: Project, source: str) -> None:
    host_tree(debian, nested=False)
    write_tar(debian.directory / "skel.tar", FILES)
    seed_of(debian, source, vm("web", "64MiB"))
    results = debian.apply()
    error = results[f"{SEED}@64MiB"].error
    assert error is not None
    size_bytes = made(debian).path.stat().st_size
    assert error.brief == f"the work_seed of image 'debian' has {exact_size(size_bytes)}, more than 64MiB"
    assert error.hint is not None
    assert "[vm.NAME.work]" in error.hint
    assert not (debian.store / "vms/web/work.ext4").exists()
