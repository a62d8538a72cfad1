from __future__ import annotations

import os
import shutil
import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest, report, store
from bangerbuild.disk import snapshot
from bangerbuild.errors import OverlayError
from bangerbuild.model import Outcome, Reason, ReasonCode, Recipe, Record, Situation, Verb, Verdict
from bangerbuild.steps.root import RootDisk
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.projects import DEBIAN, Project, codes, reasons, write_tar
from tests.steps.guest_disks import as_guest
from tests.stores import lose_records

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from bangerbuild.model import Json

MIB = 1 << 20
CHUNK = 4096
IMAGE = '[image.debian.rootfs]\ntar = "root.tar"\nsize = "24MiB"\n'
WEB = f'{IMAGE}[vm.web]\nimage = "debian"\n'
BARE = (
    f"{WEB}[vm.web.guest]\nhostname = false\nhosts = false\nsshd = false\n"
    "network = false\nfstab = false\nidentity = false\n"
)
ID, PATCH, BASE = "vm.web.root", "vm.web.root.patch", "image.debian.rootfs"


def new_base(project: Project) -> None:
    """The image's source is another one from now on."""
    write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": "a new base\n"})


def write_as_guest(project: Project, text: bytes = b"precious\n") -> None:
    with project.as_guest() as disk:
        disk.write_file("/root.txt", text)


def verbs(project: Project) -> dict[str, str]:
    """What is to be done about the image, the root and its patch."""
    actions = project.plan()
    return {step_id: actions[step_id].verb.value for step_id in (BASE, ID, PATCH)}


# as it is declared


def test_each_vm_has_a_root_on_its_image(debian: Project) -> None:
    debian.write(f'{WEB}[vm.db]\nimage = "debian"\nroot.size = "8MiB"\nroot.on_new_base = "keep"\n')
    steps = list(RootDisk.declare(manifest.load((debian.directory / "vm.toml",))))
    assert [(step.id, step.inputs, step.outputs, step.size_bytes, step.on_new_base) for step in steps] == [
        (ID, (BASE,), ("vms/web/root.cow",), None, "block"),
        ("vm.db.root", (BASE,), ("vms/db/root.cow",), 8 * MIB, "keep"),
    ]


# what should be done

FACTS: dict[str, Json] = {"base": "images/debian/f/rootfs.ext4", "file_bytes": 8 * MIB}
RECORD = Record(ID, Recipe("root-overlay", {}, {}, {}, {}), "f", ("vms/web/root.cow",), FACTS)
OTHER_BASE = Reason(ReasonCode.INPUT_CHANGED, {"id": BASE})
MISSING, UNKNOWN = Reason(ReasonCode.MISSING), Reason(ReasonCode.BASE_UNKNOWN)


def situation(
    *changes: Reason, record: Record | None = RECORD, missing: bool = False, modified: bool = False
) -> Situation:
    return Situation(record=record, changes=changes, missing=missing, modified=lambda: modified)


@pytest.mark.parametrize(
    ("given", "on_new_base", "verdict"),
    [
        (situation(), "block", Verdict(Verb.KEEP)),
        (situation(modified=True), "block", Verdict(Verb.KEEP)),
        (situation(record=None, missing=True), "block", Verdict(Verb.CREATE, (MISSING,))),
        (situation(missing=True), "block", Verdict(Verb.CREATE, (MISSING,))),
        (situation(record=None), "block", Verdict(Verb.BLOCKED, (UNKNOWN,))),
        (situation(OTHER_BASE), "block", Verdict(Verb.REPLACE, (OTHER_BASE,))),
        (
            situation(OTHER_BASE, modified=True),
            "block",
            Verdict(Verb.BLOCKED, (OTHER_BASE, Reason(ReasonCode.GUEST_WROTE))),
        ),
        (
            situation(OTHER_BASE, modified=True),
            "keep",
            Verdict(Verb.KEEP, (Reason(ReasonCode.BASE_BEHIND, {"id": BASE}),)),
        ),
    ],
)
def test_a_root_is_made_anew_as_long_as_no_guest_has_written_to_it(
    given: Situation, on_new_base: Literal["block", "keep"], verdict: Verdict
) -> None:
    assert RootDisk("web", "debian", None, on_new_base, "snapshot").judge(given) == verdict


# the file


def test_a_new_store_has_room_for_every_block_of_its_base_and_takes_none_of_it(debian: Project) -> None:
    debian.write(BARE)
    debian.build()
    chunks = debian.image().stat().st_size // CHUNK
    areas = chunks // (CHUNK // 16) + 1
    found = debian.cow().stat()
    assert found.st_size == (1 + areas + chunks) * CHUNK
    assert found.st_blocks * 512 <= 4 * CHUNK


def test_a_store_is_a_valid_persistent_one_of_4_kib_chunks(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    with debian.cow().open("rb") as file:
        assert struct.unpack("<4I", file.read(16)) == (0x70416E53, 1, 1, 8)


def test_an_overlay_that_nothing_is_patched_into_is_its_base(debian: Project) -> None:
    debian.write(BARE)
    debian.build()
    guest = debian.guest()
    guest.assert_clean()
    for name in DEBIAN:
        assert guest.read(f"/{name}") == guest_bytes(name)


def guest_bytes(name: str) -> bytes:
    content = DEBIAN[name]
    return content.encode() if isinstance(content, str) else content


def test_a_store_has_the_size_that_was_asked_for(debian: Project) -> None:
    debian.write(f'{WEB}root.size = "2MiB"\n')
    debian.build()
    assert debian.cow().stat().st_size == 2 * MIB
    debian.guest().assert_clean()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_store_is_its_owners_alone_whatever_the_umask(debian: Project, umask: int) -> None:
    before = os.umask(umask)
    try:
        debian.write(WEB)
        debian.build()
    finally:
        os.umask(before)
    assert debian.cow().stat().st_mode & 0o7777 == 0o600


def test_a_store_that_is_too_small_for_its_patch_is_an_error_that_says_how_large_it_must_be(
    debian: Project,
) -> None:
    text = os.urandom(1 << 20).hex()
    debian.write(f'{WEB}root.size = "1MiB"\nfile = [{{ guest = "/big", content = "{text}" }}]\n')
    error = debian.error(PATCH)
    assert isinstance(error, OverlayError)
    assert error.brief.startswith("'vms/web/root.cow' is full: its 1048576 bytes are too few")
    assert error.hint is not None
    assert not debian.cow().exists()


def test_the_vms_of_one_image_share_its_bytes_which_never_change(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    before = debian.image().read_bytes(), debian.image().stat().st_mtime_ns
    debian.write(f'{WEB}[vm.db]\nimage = "debian"\n')
    debian.build()
    write_as_guest(debian)
    assert (debian.image().read_bytes(), debian.image().stat().st_mtime_ns) == before
    assert debian.base("web") == debian.base("db") == debian.image()
    for vm in ("web", "db"):
        debian.guest(vm).assert_clean()
        assert debian.guest(vm).text("/etc/hostname") == f"{vm}\n"


# a new base


def test_a_root_that_no_guest_has_touched_follows_its_image(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    old = debian.base()
    before = old.read_bytes()
    new_base(debian)
    assert verbs(debian) == {BASE: "create", ID: "replace", PATCH: "update"}
    debian.build()
    assert debian.base() != old
    assert debian.guest().text("/etc/motd") == "a new base\n"
    assert old.read_bytes() == before


def test_a_root_that_a_guest_has_written_to_stays_on_its_base_and_is_blocked(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    old, before = debian.base(), debian.cow().read_bytes()
    new_base(debian)
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.BLOCKED, ["input-changed", "guest-wrote"])
    debian.build()
    assert (debian.base(), debian.cow().read_bytes()) == (old, before)
    assert debian.guest().read("/root.txt") == b"precious\n"


def test_a_blocked_root_is_patched_where_it_stands(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    old = debian.base()
    new_base(debian)
    debian.write(f'{WEB}hostname = "renamed"\n')
    assert verbs(debian) == {BASE: "create", ID: "blocked", PATCH: "update"}
    debian.build()
    guest = debian.guest()
    guest.assert_clean()
    assert debian.base() == old
    assert guest.text("/etc/hostname") == "renamed\n"
    assert guest.read("/root.txt") == b"precious\n"
    assert not guest.exists("/etc/motd")


def test_what_a_guest_wrote_is_not_forgotten_by_patching_it(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    for number in range(3):
        debian.write(f'{WEB}hostname = "name{number}"\n')
        debian.build()
        assert debian.guest().read("/root.txt") == b"precious\n"
    new_base(debian)
    assert verbs(debian)[ID] == "blocked"
    debian.build()
    assert debian.guest().read("/root.txt") == b"precious\n"


def test_a_root_may_be_told_to_keep_its_old_base(debian: Project) -> None:
    debian.write(f'{WEB}root.on_new_base = "keep"\n')
    debian.build()
    write_as_guest(debian)
    old = debian.base()
    new_base(debian)
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.KEEP, ["base-behind"])
    debian.build()
    assert debian.base() == old
    assert debian.guest().read("/root.txt") == b"precious\n"


def test_a_blocked_root_is_made_anew_only_if_that_is_asked_for(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    new_base(debian)
    debian.build()
    debian.build(ID)
    guest = debian.guest()
    guest.assert_clean()
    assert not guest.exists("/root.txt")
    assert guest.text("/etc/motd") == "a new base\n"
    assert verbs(debian) == {BASE: "keep", ID: "keep", PATCH: "keep"}


# what users do to a store


def test_a_deleted_root_is_made_again_with_its_patch(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    before = debian.cow().read_bytes()
    debian.cow().unlink()
    assert verbs(debian) == {BASE: "keep", ID: "create", PATCH: "create"}
    debian.build()
    assert debian.cow().read_bytes() == before


def test_a_deleted_image_is_made_again_under_the_overlays_that_stand_on_it(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    before = debian.image().read_bytes(), debian.cow().read_bytes()
    shutil.rmtree(debian.store / "images")
    assert verbs(debian) == {BASE: "create", ID: "keep", PATCH: "keep"}
    debian.build()
    assert (debian.image().read_bytes(), debian.cow().read_bytes()) == before
    debian.guest().assert_clean()


def test_a_deleted_image_is_made_before_an_overlay_on_it_is_patched(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    shutil.rmtree(debian.store / "images")
    debian.write(f'{WEB}hostname = "renamed"\n')
    (diff,) = debian.plan()[PATCH].diffs
    assert "can't be compared" in str(diff.note)
    debian.build()
    guest = debian.guest()
    guest.assert_clean()
    assert guest.text("/etc/hostname") == "renamed\n"
    assert guest.read("/root.txt") == b"precious\n"


def test_a_root_of_which_nothing_is_recorded_is_left_alone(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    before = debian.cow().read_bytes()
    lose_records(debian.store)
    actions = debian.plan()
    assert {step_id: codes(actions[step_id].reasons) for step_id in (ID, PATCH)} == {
        ID: ["base-unknown"],
        PATCH: ["base-unknown"],
    }
    results = debian.apply()
    assert {step_id: results[step_id].outcome for step_id in (ID, PATCH)} == {
        ID: Outcome.SKIPPED,
        PATCH: Outcome.SKIPPED,
    }
    assert debian.cow().read_bytes() == before
    debian.build(ID)
    assert verbs(debian) == {BASE: "keep", ID: "keep", PATCH: "keep"}
    assert not debian.guest().exists("/root.txt")


def test_a_moved_store_goes_on_as_if_nothing_had_happened(debian: Project, tmp_path: Path) -> None:
    debian.write(WEB)
    debian.build()
    debian.store.rename(tmp_path / "moved")
    debian.write(f'[store]\npath = "moved"\n{WEB}')
    assert verbs(debian) == {BASE: "keep", ID: "keep", PATCH: "keep"}
    base = store.read(tmp_path / "moved").records[ID].facts["base"]
    assert_clean(tmp_path / "moved" / str(base))


def test_a_store_that_somebody_enlarged_is_not_cut_to_what_the_manifest_wants(debian: Project) -> None:
    vm = f'{IMAGE}[vm.web]\nimage = "debian"\nroot.size = "{{}}"\n'
    debian.write(vm.format("64MiB"))
    debian.build()
    os.truncate(debian.cow(), 200 * MIB)
    debian.write(vm.format("96MiB"))
    action = debian.plan()["vm.web.root"]
    assert (action.verb, reasons(action)) == (
        Verb.BLOCKED,
        [{"code": "size-shrink", "old": 200 * MIB, "new": 96 * MIB}],
    )
    debian.apply()
    assert debian.cow().stat().st_size == 200 * MIB


# a store on a base that is not its own, or gone

TWINS = (
    '[image.one.rootfs]\next4 = "one.ext4"\n[image.two.rootfs]\next4 = "two.ext4"\n'
    '[vm.a]\nimage = "one"\n[vm.b]\nimage = "two"\n'
)
NOTE = '[[file]]\nguest = "/etc/note"\ncontent = "new\\n"\n'


@pytest.fixture
def twins(debian: Project) -> Project:
    """Two VMs on two images that have one UUID and differ a little; both guests have written."""
    make_ext4(debian.directory / "one.ext4", size="24M")
    shutil.copy(debian.directory / "one.ext4", debian.directory / "two.ext4")
    with as_guest(debian.directory / "two.ext4") as disk:
        disk.write_file("/only", b"on two\n")
    debian.write(TWINS)
    debian.build()
    for vm in ("a", "b"):
        with debian.as_guest(vm) as disk:
            disk.write_file("/precious", vm.encode() * 5000)
    return debian


def swap(project: Project) -> None:
    other = project.cow("a").with_suffix(".away")
    project.cow("a").rename(other)
    project.cow("b").rename(project.cow("a"))
    other.rename(project.cow("b"))


def test_a_store_that_was_made_on_another_base_is_blocked_and_left_as_it_is(twins: Project) -> None:
    swap(twins)
    twins.write(TWINS + NOTE)
    before = twins.cow("a").read_bytes(), twins.cow("b").read_bytes()
    actions = twins.plan()
    one, two = (str(twins.image(name).relative_to(twins.store)) for name in ("one", "two"))
    for step_id in ("vm.a.root", "vm.a.root.patch"):
        assert actions[step_id].verb is Verb.BLOCKED
        assert actions[step_id].reasons == (Reason(ReasonCode.BASE_UNKNOWN, {"base": two, "recorded": one}),)
    assert report.reason(actions["vm.a.root"].reasons[0]) == (
        f"it was made on {two}, and not on {one} as recorded: another VM's?"
    )
    assert {result.outcome for result in twins.apply().values()} == {Outcome.SKIPPED}
    assert (twins.cow("a").read_bytes(), twins.cow("b").read_bytes()) == before


def test_stores_that_are_put_back_are_patched(twins: Project) -> None:
    swap(twins)
    twins.write(TWINS + NOTE)
    twins.apply()
    swap(twins)
    twins.build()
    for vm in ("a", "b"):
        twins.guest(vm).assert_clean()
        assert twins.guest(vm).read("/precious") == vm.encode() * 5000
        assert twins.guest(vm).text("/etc/note") == "new\n"


def test_a_store_of_another_base_is_replaced_on_demand(twins: Project) -> None:
    swap(twins)
    twins.write(TWINS + NOTE)
    twins.build("vm.a.root")
    twins.guest("a").assert_clean()
    assert twins.guest("a").text("/etc/note") == "new\n"


def test_a_store_without_a_mark_is_taken_for_what_its_record_says(twins: Project) -> None:
    with twins.cow("a").open("r+b") as file:
        file.seek(16)
        file.write(bytes(CHUNK - 16))
    twins.write(TWINS + NOTE)
    twins.build()
    twins.guest("a").assert_clean()
    assert twins.guest("a").read("/precious") == b"a" * 5000


def test_a_store_is_marked_with_its_base_wherever_the_project_lies(debian: Project, tmp_path: Path) -> None:
    debian.write(WEB)
    debian.build()
    head = debian.cow().read_bytes()[:512]
    assert snapshot.parse_mark(head) == str(debian.base().relative_to(debian.store))
    moved = Project(tmp_path / "moved")
    shutil.copytree(debian.directory, moved.directory)
    moved.write(WEB + NOTE)
    moved.build()
    assert moved.cow().read_bytes()[:512] == head


def test_a_root_whose_image_is_gone_is_blocked_and_says_so(debian: Project) -> None:
    debian.write(f'{WEB}root.on_new_base = "keep"\n')
    debian.build()
    write_as_guest(debian)
    base = debian.base()
    new_base(debian)
    debian.build()
    assert debian.base() == base
    base.rename(base.with_suffix(".away"))
    debian.write(f'{WEB}root.on_new_base = "keep"\n{NOTE}')
    found = debian.plan()
    missing = Reason(ReasonCode.BASE_UNKNOWN, {"missing": str(base.relative_to(debian.store))})
    for step_id in (ID, PATCH):
        assert (found[step_id].verb, found[step_id].reasons) == (Verb.BLOCKED, (missing,))
    assert {result.error for result in debian.apply().values()} == {None}
    debian.write(WEB)
    assert missing in debian.plan()[ID].reasons
    base.with_suffix(".away").rename(base)
    debian.write(f'{WEB}root.on_new_base = "keep"\n{NOTE}')
    debian.build()
    assert debian.guest().text("/etc/note") == "new\n"


def test_an_image_that_is_gone_and_is_made_again_keeps_its_roots(debian: Project) -> None:
    debian.write(WEB)
    debian.build()
    write_as_guest(debian)
    debian.base().unlink()
    debian.write(WEB + NOTE)
    assert verbs(debian) == {BASE: "create", ID: "keep", PATCH: "update"}
    debian.build()
    debian.guest().assert_clean()
    assert debian.guest().text("/root.txt") == "precious\n"


def test_a_root_that_stays_behind_is_said_to_stay_on_the_image_that_it_stands_on(debian: Project) -> None:
    one = IMAGE.replace("debian", "one")
    vm = '[vm.web]\nimage = "{}"\nroot.on_new_base = "keep"\n'
    debian.write(one + vm.format("one"))
    debian.build()
    write_as_guest(debian)
    write_tar(debian.directory / "two.tar", {**DEBIAN, "etc/motd": "two\n"})
    two = IMAGE.replace("debian", "two").replace("root.tar", "two.tar")
    debian.write(one + two + vm.format("two"))
    assert Reason(ReasonCode.BASE_BEHIND, {"id": "image.one.rootfs"}) in debian.plan()[ID].reasons
