from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.declared import GuestDefaults
from bangerbuild.errors import FilesystemError, ManifestError
from bangerbuild.model import Outcome, Reason, ReasonCode, Recipe, Record, Situation, Verb, Verdict
from bangerbuild.steps.root import RootDisk
from tests.disk.ext4_tools import make_ext4
from tests.need import need
from tests.projects import DEBIAN, codes, reasons
from tests.steps.guest_disks import (
    IMAGE,
    MIB,
    allocated_bytes,
    as_guest,
    filesystem_bytes,
    forget,
    new_base,
    precious,
    vm_disk,
    write_precious,
)

if TYPE_CHECKING:
    from typing import Literal

    from tests.projects import Disk, Project

ID, PATCH, BASE = "vm.web.root", "vm.web.root.patch", "image.debian.rootfs"
RAW, SNAPSHOT = 'root.format = "raw"\n', 'root.format = "snapshot"\n'
SWITCHES = [name for name, value in vars(GuestDefaults()).items() if isinstance(value, bool)]
BARE = "guest = { " + ", ".join(f"{name} = false" for name in SWITCHES) + " }\n"


def web(more: str = RAW) -> str:
    return f'{IMAGE}[vm.web]\nimage = "debian"\n{more}'


def root(project: Project) -> Disk:
    return vm_disk(project, "root")


def verbs(project: Project) -> tuple[str, str]:
    """What is to be done about the root and its patch."""
    planned = project.plan()
    return planned[ID].verb.value, planned[PATCH].verb.value


def built_and_used(project: Project, text: str) -> dict[str, object]:
    """Build; let the guest write to its raw root; what must be there for ever after."""
    project.write(text)
    project.build()
    return dict(write_precious(root(project).path))


# what should be done


RECORD = Record(ID, Recipe("root-raw", {}, {}, {}, {}), "f", ("vms/web/root.ext4",), {"file_bytes": 64 * MIB})


def situation(
    *changes: Reason, known: Record | None = RECORD, missing: bool = False, modified: bool = False
) -> Situation:
    return Situation(record=known, changes=changes, missing=missing, modified=lambda: modified)


NEW_BASE = Reason(ReasonCode.INPUT_CHANGED, {"id": BASE})
NEW_SIZE = Reason(ReasonCode.RECIPE_CHANGED, {"key": "root.size", "old": 1, "new": 2})
OTHER_FORMAT = Reason(ReasonCode.RECIPE_CHANGED, {"key": "root.format", "old": "raw", "new": "snapshot"})
MISSING, WROTE = Reason(ReasonCode.MISSING), Reason(ReasonCode.GUEST_WROTE)
BEHIND = Reason(ReasonCode.BASE_BEHIND, {"id": BASE})
GROW = Reason(ReasonCode.SIZE_GROW, {"old": 64 * MIB, "new": 128 * MIB})
SHRINK = Reason(ReasonCode.SIZE_SHRINK, {"old": 64 * MIB, "new": 32 * MIB})


@pytest.mark.parametrize(
    ("given", "on_new_base", "size_bytes", "verdict"),
    [
        (situation(), "block", None, Verdict(Verb.KEEP)),
        (situation(modified=True), "block", None, Verdict(Verb.KEEP)),
        (situation(known=None, missing=True), "block", None, Verdict(Verb.CREATE, (MISSING,))),
        (situation(missing=True), "block", None, Verdict(Verb.CREATE, (MISSING,))),
        (
            situation(known=None),
            "block",
            None,
            Verdict(Verb.ADOPT, (Reason(ReasonCode.MISSING, {"record": True}),)),
        ),
        (situation(NEW_BASE), "block", None, Verdict(Verb.REPLACE, (NEW_BASE,))),
        (situation(NEW_BASE), "keep", None, Verdict(Verb.REPLACE, (NEW_BASE,))),
        (situation(NEW_BASE, modified=True), "block", None, Verdict(Verb.BLOCKED, (NEW_BASE, WROTE))),
        (situation(NEW_BASE, modified=True), "keep", None, Verdict(Verb.KEEP, (BEHIND,))),
        (situation(NEW_SIZE), "block", 128 * MIB, Verdict(Verb.GROW, (GROW,))),
        (situation(NEW_SIZE, modified=True), "block", 128 * MIB, Verdict(Verb.GROW, (GROW,))),
        (situation(NEW_SIZE), "block", 32 * MIB, Verdict(Verb.REPLACE, (SHRINK,))),
        (situation(NEW_SIZE, modified=True), "block", 32 * MIB, Verdict(Verb.BLOCKED, (SHRINK,))),
        (situation(NEW_SIZE, modified=True), "block", None, Verdict(Verb.KEEP)),
        (situation(NEW_SIZE, NEW_BASE, modified=True), "keep", 128 * MIB, Verdict(Verb.GROW, (GROW, BEHIND))),
        (
            situation(NEW_SIZE, NEW_BASE, modified=True),
            "keep",
            32 * MIB,
            Verdict(Verb.BLOCKED, (SHRINK, BEHIND)),
        ),
        (situation(OTHER_FORMAT), "block", None, Verdict(Verb.REPLACE, (OTHER_FORMAT,))),
        (situation(OTHER_FORMAT, modified=True), "block", None, Verdict(Verb.BLOCKED, (OTHER_FORMAT, WROTE))),
        (
            situation(OTHER_FORMAT, NEW_BASE, modified=True),
            "keep",
            None,
            Verdict(Verb.BLOCKED, (OTHER_FORMAT, NEW_BASE, WROTE)),
        ),
    ],
)
def test_a_root_is_made_anew_only_while_no_guest_has_written_to_it(
    given: Situation, on_new_base: Literal["block", "keep"], size_bytes: int | None, verdict: Verdict
) -> None:
    assert RootDisk("web", "debian", size_bytes, on_new_base, "raw").judge(given) == verdict


def test_a_root_lies_where_its_format_says(debian: Project) -> None:
    vms = (f'[vm.{name}]\nimage = "debian"\nroot.format = "{name}"\n' for name in ("snapshot", "raw"))
    debian.write(IMAGE + "".join(vms))
    loaded = manifest.load((debian.directory / "vm.toml",))
    declared = [(step.id, step.outputs) for step in RootDisk.declare(loaded)]
    assert declared == [
        ("vm.snapshot.root", ("vms/snapshot/root.cow",)),
        ("vm.raw.root", ("vms/raw/root.ext4",)),
    ]


# the disk


def test_a_raw_root_that_nothing_is_patched_into_is_its_image_byte_for_byte(debian: Project) -> None:
    debian.write(web(RAW + BARE))
    debian.build()
    assert root(debian).path.read_bytes() == debian.image().read_bytes()
    assert root(debian).path.stat().st_mode & 0o7777 == 0o600
    assert allocated_bytes(root(debian).path) <= 2 * allocated_bytes(debian.image())


def test_a_raw_root_is_patched_and_its_image_is_not(debian: Project) -> None:
    debian.write(web(RAW + BARE))
    debian.build()
    before = debian.image().read_bytes()
    debian.write(web())
    debian.build()
    root(debian).assert_clean()
    assert root(debian).text("/etc/hostname") == "web\n"
    assert root(debian).text("/etc/machine-id") == ""
    assert not root(debian).exists("/etc/ssh/ssh_host_rsa_key")
    assert debian.image().read_bytes() == before


def test_a_raw_root_is_grown_to_its_size(debian: Project) -> None:
    debian.write(web(RAW + 'root.size = "4GiB"\n'))
    debian.build()
    root(debian).assert_clean()
    assert filesystem_bytes(root(debian).path) == root(debian).path.stat().st_size == 4 << 30
    assert root(debian).text("/etc/hostname") == "web\n"
    assert allocated_bytes(root(debian).path) < 4 * MIB


def test_a_size_below_the_images_is_an_error(debian: Project) -> None:
    debian.write(web(RAW + 'root.size = "16MiB"\n'))
    with pytest.raises(ManifestError) as caught:
        debian.plan()
    (problem,) = caught.value.problems
    assert problem.message == "size is '16MiB', smaller than image 'debian': 24MiB"


def test_a_size_below_that_of_an_image_of_unknown_size_fails_in_the_step(debian: Project) -> None:
    debian.write(web(RAW + 'root.size = "16MiB"\n').replace('size = "24MiB"\n', ""))
    error = debian.error(ID)
    assert isinstance(error, FilesystemError)
    assert error.brief == (
        f"a root of {16 * MIB} bytes is too small for its image, which has {debian.image().stat().st_size}"
    )
    assert not root(debian).path.exists()


def test_the_same_manifest_gives_the_same_root(debian: Project) -> None:
    debian.write(web())
    debian.build()
    before = root(debian).path.read_bytes()
    root(debian).path.unlink()
    debian.build()
    assert root(debian).path.read_bytes() == before


# what a guest wrote


def test_a_root_that_a_guest_wrote_to_is_patched_in_place_and_never_cloned_again(debian: Project) -> None:
    before = built_and_used(debian, web())
    with as_guest(root(debian).path) as disk:
        disk.write_file("/etc/machine-id", b"the guest's own\n")
        disk.write_file("/etc/ssh/ssh_host_rsa_key", b"the guest's key\n")
    for name in ("one", "two", "three"):
        debian.write(web(f'{RAW}hostname = "{name}"\n'))
        assert verbs(debian) == ("keep", "update")
        debian.build()
        assert precious(root(debian).path) == before
        assert root(debian).text("/etc/hostname") == f"{name}\n"
    assert root(debian).text("/etc/machine-id") == "the guest's own\n"
    assert root(debian).text("/etc/ssh/ssh_host_rsa_key") == "the guest's key\n"


def test_growing_keeps_what_a_guest_wrote_and_its_identity(debian: Project) -> None:
    before = built_and_used(debian, web())
    with as_guest(root(debian).path) as disk:
        disk.write_file("/etc/machine-id", b"the guest's own\n")
    debian.write(web(f'{RAW}root.size = "256MiB"\nhostname = "renamed"\n'))
    assert verbs(debian) == ("grow", "update")
    debian.build()
    assert precious(root(debian).path) == before
    assert root(debian).text("/etc/machine-id") == "the guest's own\n"
    assert root(debian).text("/etc/hostname") == "renamed\n"
    assert filesystem_bytes(root(debian).path) == 256 * MIB
    assert verbs(debian) == ("keep", "keep")


def test_an_untouched_root_that_grows_is_made_anew_or_grown_and_holds_the_same(debian: Project) -> None:
    debian.write(web())
    debian.build()
    debian.write(web(f'{RAW}root.size = "256MiB"\nhostname = "renamed"\n'))
    debian.build()
    root(debian).assert_clean()
    assert filesystem_bytes(root(debian).path) == 256 * MIB
    assert root(debian).text("/etc/hostname") == "renamed\n"
    assert root(debian).text("/etc/machine-id") == ""
    assert verbs(debian) == ("keep", "keep")


def test_a_smaller_size_is_blocked_once_a_guest_has_written(debian: Project) -> None:
    before = built_and_used(debian, web(RAW + 'root.size = "256MiB"\n'))
    debian.write(web(RAW + 'root.size = "128MiB"\n'))
    assert verbs(debian) == ("blocked", "keep")
    debian.build()
    assert precious(root(debian).path) == before


def test_a_smaller_size_of_an_untouched_root_makes_it_anew(debian: Project) -> None:
    debian.write(web(RAW + 'root.size = "256MiB"\n'))
    debian.build()
    debian.write(web(RAW + 'root.size = "128MiB"\n'))
    assert verbs(debian) == ("replace", "update")
    debian.build()
    root(debian).assert_clean()
    assert filesystem_bytes(root(debian).path) == 128 * MIB


# a new base


def test_an_untouched_root_follows_its_image(debian: Project) -> None:
    debian.write(web())
    debian.build()
    new_base(debian, DEBIAN)
    assert verbs(debian) == ("replace", "update")
    debian.build()
    assert root(debian).text("/etc/motd") == "a new base\n"


def test_a_root_that_a_guest_wrote_to_stays_on_its_base_and_is_blocked(debian: Project) -> None:
    before = built_and_used(debian, web())
    new_base(debian, DEBIAN)
    debian.write(web(f'{RAW}hostname = "renamed"\n'))
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.BLOCKED, ["input-changed", "guest-wrote"])
    debian.build()
    assert precious(root(debian).path) == before
    assert root(debian).text("/etc/hostname") == "renamed\n"
    assert not root(debian).exists("/etc/motd")


def test_a_root_that_keeps_its_base_can_still_grow_and_stays_behind(debian: Project) -> None:
    keep = RAW + 'root.on_new_base = "keep"\n'
    before = built_and_used(debian, web(keep))
    new_base(debian, DEBIAN)
    debian.write(web(keep + 'root.size = "128MiB"\n'))
    assert codes(debian.plan()[ID].reasons) == ["size-grow", "base-behind"]
    debian.build()
    assert precious(root(debian).path) == before
    assert filesystem_bytes(root(debian).path) == 128 * MIB
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.KEEP, ["base-behind"])


# a root that no record knows


def test_an_unknown_root_is_adopted_with_all_that_is_in_it_and_its_identity(debian: Project) -> None:
    path = debian.store / "vms/web/root.ext4"
    path.parent.mkdir(parents=True)
    make_ext4(path)
    with as_guest(path) as disk:
        disk.write_file("/etc/machine-id", b"its own\n")
        disk.write_file("/etc/hostname", b"old\n")
    before = write_precious(path)
    debian.write(web(RAW + 'root.size = "128MiB"\n'))
    assert verbs(debian) == ("adopt", "update")
    debian.build()
    assert precious(path) == before
    assert root(debian).text("/etc/machine-id") == "its own\n"
    assert root(debian).text("/etc/hostname") == "web\n"
    assert filesystem_bytes(path) == 128 * MIB
    debian.write(web(RAW + 'root.size = "128MiB"\nhostname = "renamed"\n'))
    debian.build()
    assert precious(path) == before
    assert root(debian).text("/etc/machine-id") == "its own\n"


def test_an_adopted_root_is_a_guests_for_ever(debian: Project) -> None:
    before = built_and_used(debian, web())
    forget(debian)
    debian.build()
    new_base(debian, DEBIAN)
    assert verbs(debian)[0] == "blocked"
    debian.apply()
    assert precious(root(debian).path) == before


# another format


def test_an_untouched_root_changes_its_format(debian: Project) -> None:
    debian.write(web(SNAPSHOT))
    debian.build()
    debian.write(web())
    assert reasons(debian.plan()[ID]) == [
        {"code": "recipe-changed", "key": "root.format", "old": "snapshot", "new": "raw"}
    ]
    debian.build()
    root(debian).assert_clean()
    assert root(debian).text("/etc/hostname") == "web\n"
    assert verbs(debian) == ("keep", "keep")
    debian.write(web(SNAPSHOT))
    debian.build()
    assert debian.guest().text("/etc/hostname") == "web\n"
    assert verbs(debian) == ("keep", "keep")


def test_a_snapshot_that_a_guest_wrote_to_is_not_passed_over_for_a_raw_root(debian: Project) -> None:
    debian.write(web(SNAPSHOT))
    debian.build()
    with debian.as_guest() as disk:
        disk.write_file("/notes", b"precious\n")
    debian.write(web(f'{RAW}hostname = "renamed"\n'))
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.BLOCKED, ["recipe-changed", "guest-wrote"])
    results = debian.apply()
    assert results[PATCH].outcome is Outcome.DONE
    assert not root(debian).path.exists()
    guest = debian.guest()
    guest.assert_clean()
    assert (guest.text("/notes"), guest.text("/etc/hostname")) == ("precious\n", "renamed\n")


def test_a_raw_root_that_a_guest_wrote_to_is_not_passed_over_for_a_snapshot(debian: Project) -> None:
    before = built_and_used(debian, web())
    debian.write(web(SNAPSHOT))
    assert verbs(debian) == ("blocked", "keep")
    debian.apply()
    assert precious(root(debian).path) == before
    assert not debian.cow().exists()
    debian.write(web())
    assert verbs(debian) == ("keep", "keep")


def test_a_root_passed_over_on_purpose_is_not_overwritten_by_coming_back_to_it(debian: Project) -> None:
    before = built_and_used(debian, web())
    debian.write(web(SNAPSHOT))
    debian.build(ID)
    assert debian.guest().text("/etc/hostname") == "web\n"
    debian.write(web())
    assert verbs(debian)[0] == "blocked"
    debian.apply()
    assert precious(root(debian).path) == before


def test_a_disk_that_lies_where_the_other_format_goes_is_not_overwritten(debian: Project) -> None:
    debian.write(web(SNAPSHOT))
    debian.build()
    make_ext4(root(debian).path)
    before = write_precious(root(debian).path)
    debian.write(web())
    assert verbs(debian)[0] == "blocked"
    debian.apply()
    assert precious(root(debian).path) == before


def test_where_the_old_root_is_gone_a_disk_of_the_other_format_is_adopted(debian: Project) -> None:
    debian.write(web(SNAPSHOT))
    debian.build()
    debian.cow().unlink()
    make_ext4(root(debian).path)
    before = write_precious(root(debian).path)
    debian.write(web())
    assert verbs(debian) == ("adopt", "update")
    debian.build()
    assert precious(root(debian).path) == before
    assert root(debian).text("/etc/hostname") == "web\n"


def test_a_root_that_is_marked_with_errors_is_not_mended_on_the_way(debian: Project) -> None:
    debian.write(web(f'{RAW}root.size = "64MiB"\n'))
    debian.build()
    root = debian.store / "vms/web/root.ext4"
    subprocess.run([need("debugfs"), "-w", "-R", "ssv state 2", root], check=True, capture_output=True)
    debian.write(web(f'{RAW}root.size = "96MiB"\n'))
    found = debian.plan()[ID]
    assert (found.verb, found.reasons[0].facts["error"], found.reasons[0].facts["hint"]) == (
        Verb.BLOCKED,
        "'vms/web/root.ext4' is marked as having errors",
        f"e2fsck -f '{root}'",
    )
    assert debian.apply()[ID].outcome is Outcome.SKIPPED
    assert root.stat().st_size == 64 * MIB
