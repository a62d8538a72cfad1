from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.steps.image_work_seed import ImageWorkSeed
from bangerbuild.steps.image_work_seed_sized import ImageWorkSeedSized
from tests.disk.ext4_tools import make_ext4
from tests.projects import DEBIAN, write_tar
from tests.steps.guest_disks import (
    MIB,
    as_guest,
    ext4_seed,
    filesystem_bytes,
    label,
)
from tests.steps.seeds import FILES, assert_holds_the_files, host_tree, made, seed_of, vm

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project

SEED, SEED_1G = "image.debian.work_seed", "image.debian.work_seed@1GiB"


# what is declared


def test_a_seed_is_made_once_and_once_for_each_size_that_is_asked_for(debian: Project) -> None:
    (debian.directory / "skel").mkdir()
    vms = (
        vm("a", "1GiB")
        + vm("b", "1024MiB")
        + vm("c", "1610612736")
        + vm("d")
        + "[vm.e]\nimage = 'debian'\nwork = false\n"
    )
    seed_of(debian, 'directory = "skel"', vms.replace('"1610612736"', "1610612736"))
    loaded = manifest.load((debian.directory / "vm.toml",))
    assert [(step.id, step.inputs) for step in ImageWorkSeed.declare(loaded)] == [(SEED, ())]
    assert [(step.id, step.inputs) for step in ImageWorkSeedSized.declare(loaded)] == [
        (SEED_1G, (SEED,)),
        (f"{SEED}@1536MiB", (SEED,)),
    ]


# each source


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_a_directory_becomes_a_seed_with_root_at_its_top(debian: Project, nested: bool) -> None:  # noqa: FBT001  # a parameter
    host_tree(debian, nested=nested)
    seed_of(debian, 'directory = "skel"\nsize = "64MiB"')
    debian.build()
    seed = made(debian)
    assert_holds_the_files(seed)
    assert filesystem_bytes(seed.path) == seed.path.stat().st_size == 64 * MIB


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_a_tarball_becomes_a_seed_with_root_at_its_top(debian: Project, nested: bool) -> None:  # noqa: FBT001  # a parameter
    files = {f"root/{name}" if nested else name: content for name, content in FILES.items()}
    write_tar(debian.directory / "skel.tar", files)
    seed_of(debian, 'tar = "skel.tar"\nsize = "64MiB"')
    debian.build()
    assert_holds_the_files(made(debian))


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_an_ext4_becomes_a_seed_with_root_at_its_top(debian: Project, nested: bool) -> None:  # noqa: FBT001  # a parameter
    files = {f"/root/{name}" if nested else f"/{name}": text.encode() for name, text in FILES.items()}
    source = ext4_seed(debian.directory / "skel.ext4", files)
    before = source.read_bytes()
    seed_of(debian, 'ext4 = "skel.ext4"')
    debian.build()
    seed = made(debian)
    assert_holds_the_files(seed)
    assert filesystem_bytes(seed.path) == 64 * MIB
    assert source.read_bytes() == before


def test_a_seed_is_called_work_and_nobody_may_write_to_it(debian: Project) -> None:
    ext4_seed(debian.directory / "skel.ext4", {"/a": b"a"})
    seed_of(debian, 'ext4 = "skel.ext4"', vm("web", "1GiB"))
    debian.build()
    for name in ("work-seed", "work-seed@1GiB"):
        assert label(made(debian, name).path) == "work"
        assert made(debian, name).path.stat().st_mode & 0o7777 == 0o444


def test_the_attributes_of_a_nested_root_become_those_of_the_top(debian: Project) -> None:
    path = make_ext4(debian.directory / "skel.ext4")
    with as_guest(path) as disk:
        disk.make_directory("/root", mode=0o750, uid=7, gid=8, mtime_ns=1_600_000_000 * 10**9)
        disk.write_file("/root/key", b"k", mode=0o600, uid=7, gid=8, mtime_ns=1_500_000_000 * 10**9)
        disk.link("/root/same", "/root/key")
    seed_of(debian, 'ext4 = "skel.ext4"')
    debian.build()
    seed = made(debian)
    seed.assert_clean()
    top, key = seed.stat("/"), seed.stat("/key")
    assert (top.mode, top.owner) == ("0750", "7:8")
    assert (key.mode, key.owner, key.links, key.mtime) == ("0600", "7:8", 2, 1_500_000_000)
    assert seed.read("/same") == b"k"


@pytest.mark.parametrize("kind", ["tar", "ext4", "directory"])
def test_a_name_that_stands_in_root_and_beside_it_is_refused_and_nothing_is_published(
    debian: Project, kind: str
) -> None:
    names = {"root/a": "inside", "a": "beside"}
    write_tar(debian.directory / "skel.tar", names)
    ext4_seed(debian.directory / "skel.ext4", {f"/{name}": text.encode() for name, text in names.items()})
    (debian.directory / "skel.directory" / "root").mkdir(parents=True)
    for name, text in names.items():
        (debian.directory / "skel.directory" / name).write_text(text)
    seed_of(debian, f'{kind} = "skel.{kind}"')
    error = debian.error(SEED)
    assert error.brief.startswith("'a' stands both in 'root/' and beside it")
    assert error.hint == "leave one of the two out of the work_seed"
    assert not list(debian.store.glob("images/debian/*/work-seed*"))
    assert not list((debian.store / ".staging").iterdir())


def test_a_seed_of_many_small_files_is_flattened_as_it_is(debian: Project) -> None:
    path = make_ext4(debian.directory / "skel.ext4", "-N", "4096", size="16M")
    with as_guest(path) as disk:
        for number in range(2000):
            disk.write_file(f"/root/{number}", b"")
    seed_of(debian, 'ext4 = "skel.ext4"')
    debian.build()
    seed = made(debian)
    seed.assert_clean()
    assert len(seed.names("/")) == 2001


def test_an_ext4_seed_may_be_asked_for_at_a_larger_size(debian: Project) -> None:
    ext4_seed(debian.directory / "skel.ext4", {"/root/a": b"a"})
    seed_of(debian, 'ext4 = "skel.ext4"\nsize = "128MiB"')
    debian.build()
    seed = made(debian)
    seed.assert_clean()
    assert (filesystem_bytes(seed.path), seed.text("/a")) == (128 * MIB, "a")


# what changes


def test_another_seed_is_made_beside_the_old_one(debian: Project) -> None:
    host_tree(debian, nested=False)
    seed_of(debian, 'directory = "skel"', vm("web", "1GiB"))
    debian.build()
    old = {path: path.read_bytes()[:MIB] for path in debian.store.glob("images/*/*/*")}
    (debian.directory / "skel" / "new").write_text("new\n")
    actions = debian.plan()
    assert {step_id: actions[step_id].verb.value for step_id in (SEED, SEED_1G)} == {
        SEED: "create",
        SEED_1G: "create",
    }
    debian.build()
    assert len(list(debian.store.glob("images/*/*/work-seed*"))) == 4
    assert {path: path.read_bytes()[:MIB] for path in old} == old


def test_the_same_seed_gives_the_same_bytes_anywhere(
    debian: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host_tree(debian, nested=True)
    seed_of(debian, 'directory = "skel"\nsize = "16MiB"', vm("web", "64MiB"))
    debian.build()
    other = type(debian)(tmp_path_factory.mktemp("other") / "project")
    shutil.copytree(debian.directory, other.directory, ignore=shutil.ignore_patterns("build"))
    other.build()
    assert [images(project) for project in (debian, other)] == [images(debian)] * 2


def images(project: Project) -> dict[str, bytes]:
    found: list[Path] = sorted(project.store.glob("images/*/*/*"))
    assert len(found) == 3
    return {str(path.relative_to(project.store)): path.read_bytes() for path in found}


def test_an_image_without_vms_still_has_its_seed(debian: Project) -> None:
    write_tar(debian.directory / "root.tar", DEBIAN)
    host_tree(debian, nested=False)
    seed_of(debian, 'directory = "skel"')
    debian.build()
    assert_holds_the_files(made(debian))


@pytest.mark.parametrize(("mode", "is_told"), [(0o700, False), (0o755, False), (0o775, False), (0o777, True)])
def test_a_seeds_top_is_that_of_a_home_and_one_open_to_all_is_told(
    debian: Project, mode: int, *, is_told: bool
) -> None:
    (debian.directory / "skel").mkdir()
    (debian.directory / "skel").chmod(mode)
    seed_of(debian, 'directory = "skel"')
    debian.build()
    assert int(made(debian).stat("/").mode, 8) == mode
    assert any("'/' in 'skel' has mode 0777" in warning for warning in debian.warnings) == is_told
