"""Fingerprints: what counts, what does not, and what is said of a difference."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.declared import FileSync, GuestDefaults, InlineFile, Mount, Network
from bangerbuild.model import HostPath, Reason, ReasonCode, Recipe
from bangerbuild.model.fingerprint import (
    FINGERPRINT_LENGTH,
    canonical_json,
    differences,
    fingerprint,
    portable,
    recipe_from_json,
    recipe_to_json,
    step_fields,
    tool_differences,
)
from bangerbuild.sources.tar import TarSource
from bangerbuild.steps.image_rootfs import ImageRootfs
from tests.fakes import FakeStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.model import Json, Step

T = TypeVar("T")

RECIPE = Recipe(
    kind="root-patch",
    fields={"hostname": "web", "network.dns": ["1.1.1.1"], "mount[/scratch]": {"fstype": "tmpfs", "dump": 0}},
    inputs={"vm.web.root": "aa"},
    sources={"file_sync[/opt]": "d1"},
    tools={"e2fsprogs": "1.47.0"},
)


@dataclass(frozen=True)
class Patch(FakeStep):
    """A step whose fields are of every sort there is."""

    name: str = field(default="web", metadata={"recipe": False})
    hostname: str = "web"
    guest: GuestDefaults = field(default_factory=GuestDefaults)
    network: Network = field(default_factory=Network)
    drop_mounts: tuple[str, ...] = ()
    authorized_keys: tuple[str, ...] = field(default=(), metadata={"key": "ssh_authorized_keys"})
    files: tuple[InlineFile, ...] = field(default=(), metadata={"key": "file"})
    file_syncs: tuple[FileSync, ...] = field(default=(), metadata={"key": "file_sync"})
    mounts: tuple[Mount, ...] = field(default=(), metadata={"key": "mount"})


PATCH = Patch(
    "vm.web.root.patch",
    network=Network("bootstrap", "10.0.0.2/24", dns=("1.1.1.1",)),
    drop_mounts=("/home",),
    authorized_keys=("ssh-ed25519 AAAA",),
    files=(InlineFile("/etc/secret", "hunter2", 0o600),),
    file_syncs=(FileSync(HostPath(Path("/host/app"), "app"), "/opt/app", exclude=("*.pyc",)),),
    mounts=(Mount("tmpfs", "/scratch", "tmpfs", ("size=1g",)),),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
flat = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
recipes = st.builds(
    Recipe,
    kind=st.text(max_size=5),
    fields=st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    inputs=flat,
    sources=flat,
    tools=flat,
)


def turned(part: Mapping[str, T]) -> dict[str, T]:
    return dict(reversed(list(part.items())))


def of(step: Patch) -> str:
    return fingerprint(replace(RECIPE, fields=step_fields(step)))


def test_a_fingerprint_is_a_fixed_number_of_hex_digits() -> None:
    assert len(fingerprint(RECIPE)) == FINGERPRINT_LENGTH
    assert set(fingerprint(RECIPE)) <= set("0123456789abcdef")


def test_a_fingerprint_is_the_same_in_every_version_of_this_program() -> None:
    """If this fails, every image of every store is made anew: raise the steps' `format` instead."""
    assert fingerprint(RECIPE) == "0f8e0ab7f95f38688583cbac98c393fb"


def test_canonical_json_is_sorted_without_spaces_and_ascii() -> None:
    assert canonical_json({"b": [1, True, None], "a": "ü"}) == '{"a":"\\u00fc","b":[1,true,null]}'


def test_canonical_json_refuses_what_is_no_json_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


@given(json_values)
def test_canonical_json_reads_back_as_the_same_value(value: Json) -> None:
    assert json.loads(canonical_json(value)) == value


@given(recipes)
def test_the_order_of_a_recipe_s_parts_does_not_count(recipe: Recipe) -> None:
    other = Recipe(
        recipe.kind,
        turned(recipe.fields),
        turned(recipe.inputs),
        turned(recipe.sources),
        turned(recipe.tools),
    )
    assert fingerprint(other) == fingerprint(recipe)


@given(recipes, recipes)
def test_recipes_share_a_fingerprint_only_if_they_are_the_same(one: Recipe, other: Recipe) -> None:
    same = canonical_json(recipe_to_json(one)) == canonical_json(recipe_to_json(other))
    assert (fingerprint(one) == fingerprint(other)) is same


@given(recipes)
def test_a_recorded_recipe_reads_back_as_the_same_recipe(recipe: Recipe) -> None:
    recorded = json.loads(canonical_json(recipe_to_json(recipe)))
    assert recipe_from_json(recorded) == recipe


@pytest.mark.parametrize("part", ["kind", "fields", "inputs", "sources", "tools"])
def test_every_part_of_a_recipe_counts(part: str) -> None:
    other: dict[str, Json] = {**recipe_to_json(RECIPE), part: "other" if part == "kind" else {"other": "x"}}
    assert fingerprint(recipe_from_json(other)) != fingerprint(RECIPE)


def test_a_step_s_fields_stand_under_their_manifest_keys() -> None:
    assert step_fields(PATCH) == {
        "text": "",
        "hostname": "web",
        "guest.hostname": True,
        "guest.hosts": True,
        "guest.resolv_conf": True,
        "guest.sshd": True,
        "guest.network": True,
        "guest.fstab": True,
        "guest.identity": True,
        "network.mode": "bootstrap",
        "network.address": "10.0.0.2/24",
        "network.gateway": None,
        "network.dns": ["1.1.1.1"],
        "network.mac": None,
        "network.tap": None,
        "drop_mounts": ["/home"],
        "ssh_authorized_keys": ["ssh-ed25519 AAAA"],
        "file[/etc/secret]": {
            "guest": "/etc/secret",
            "content": "sha256:f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7",
            "mode": 0o600,
            "owner": "root:root",
        },
        "file_sync[/opt/app]": {
            "guest": "/opt/app",
            "mode": None,
            "owner": "root:root",
            "exclude": ["*.pyc"],
        },
        "mount[/scratch]": {
            "source": "tmpfs",
            "target": "/scratch",
            "fstype": "tmpfs",
            "options": ["size=1g"],
            "dump": 0,
            "pass": 0,
        },
    }


@pytest.mark.parametrize(
    "changed",
    [
        replace(PATCH, text="x"),
        replace(PATCH, hostname="db"),
        replace(PATCH, guest=GuestDefaults(sshd=False)),
        replace(PATCH, network=replace(PATCH.network, gateway="10.0.0.1")),
        replace(PATCH, drop_mounts=()),
        replace(PATCH, authorized_keys=()),
        replace(PATCH, files=()),
        replace(PATCH, files=(replace(PATCH.files[0], content="hunter3"),)),
        replace(PATCH, files=(replace(PATCH.files[0], mode=0o640),)),
        replace(PATCH, file_syncs=(replace(PATCH.file_syncs[0], guest="/opt/other"),)),
        replace(PATCH, file_syncs=(replace(PATCH.file_syncs[0], exclude=()),)),
        replace(PATCH, mounts=(replace(PATCH.mounts[0], options=("size=2g",)),)),
    ],
    ids=lambda step: next(
        name for name in PATCH.__dataclass_fields__ if getattr(step, name) != getattr(PATCH, name)
    ),
)
def test_a_change_of_any_field_changes_the_fingerprint(changed: Patch) -> None:
    assert of(changed) != of(PATCH)


inline_files = st.builds(
    InlineFile,
    guest=st.sampled_from(["/a", "/b"]),
    content=st.text(max_size=5),
    mode=st.integers(0, 0o7777),
    owner=st.sampled_from(["root:root", "1:1"]),
)


@given(inline_files, inline_files)
def test_equal_values_have_one_fingerprint_and_others_another(one: InlineFile, other: InlineFile) -> None:
    same = of(replace(PATCH, files=(one,))) == of(replace(PATCH, files=(other,)))
    assert same is (one == other)


def test_where_a_host_file_lies_does_not_count() -> None:
    here = ImageRootfs("deb", TarSource(HostPath(Path("/here/a.tar"), "a.tar"), 1 << 30))
    there = ImageRootfs("deb", TarSource(HostPath(Path("/there/b.tar"), "../b.tar"), 1 << 30))
    assert step_fields(here) == step_fields(there) == {"rootfs.size": 1 << 30}


def test_a_field_marked_as_no_part_of_the_recipe_does_not_count() -> None:
    assert step_fields(replace(PATCH, name="other")) == step_fields(PATCH)


def test_a_key_that_came_later_is_told_only_where_it_has_another_value_than_what_was_made_before() -> None:
    def told(sync: FileSync, file: InlineFile) -> dict[str, Json]:
        fields = step_fields(replace(PATCH, files=(file,), file_syncs=(sync,)))
        synced, inline = fields["file_sync[/a]"], fields["file[/a]"]
        assert isinstance(synced, dict)
        assert isinstance(inline, dict)
        return {
            "sync": synced.get("times"),
            "mode": synced.get("directory_mode"),
            "file": inline.get("times"),
        }

    host = HostPath(Path("/h"), "h")
    usual, file = FileSync(host, "/a"), InlineFile("/a", "")
    assert (
        told(usual, file)
        == told(replace(usual, times="fixed"), file)
        == dict.fromkeys(("sync", "mode", "file"))
    )
    other = replace(usual, unusual_times="fixed", directory_mode=0)
    assert told(other, replace(file, times="host", mtime_ns=5)) == {
        "sync": "fixed",
        "mode": 0,
        "file": "host",
    }
    assert "mtime_ns" not in str(
        step_fields(replace(PATCH, files=(replace(file, times="host", mtime_ns=5),)))
    )


def test_content_that_may_be_secret_is_nowhere_but_as_a_digest() -> None:
    assert "hunter2" not in canonical_json(step_fields(PATCH))


def test_content_of_other_bytes_than_text_has_a_digest_too() -> None:
    """A surrogate stands for a byte that is no UTF-8."""
    fields = step_fields(replace(PATCH, files=(InlineFile("/a", "\udcff"),)))
    assert cast("dict[str, Json]", fields["file[/a]"])["content"] == (
        "sha256:a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89"
    )


def test_a_recipe_can_hold_only_json() -> None:
    @dataclass(frozen=True)
    class Odd(FakeStep):
        kind: ClassVar[str] = "odd"
        what: object = field(default_factory=object)

    with pytest.raises(TypeError, match="a recipe cannot hold <object object"):
        step_fields(Odd("a"))


def test_tables_in_an_array_must_have_something_to_be_told_apart_by() -> None:
    @dataclass(frozen=True)
    class Row:
        number: int

    @dataclass(frozen=True)
    class Odd(FakeStep):
        rows: tuple[Row, ...] = (Row(1),)

    with pytest.raises(TypeError, match="Row has none of"):
        step_fields(Odd("a"))


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[dict[str, Json]]:
    found = differences(replace(RECIPE, fields=old), replace(RECIPE, fields=new), {})
    return [reason.to_json() for reason in found]


def test_the_same_recipe_has_no_differences() -> None:
    assert differences(RECIPE, RECIPE, {}) == ()
    assert tool_differences(RECIPE, RECIPE) == ()


def test_a_changed_field_is_told_with_both_values() -> None:
    assert changes({"hostname": "web"}, {"hostname": "db"}) == [
        {"code": "recipe-changed", "key": "hostname", "old": "web", "new": "db"}
    ]


def test_a_field_that_came_or_went_is_told_too() -> None:
    assert changes({"a": 1}, {"b": 2}) == [
        {"code": "recipe-changed", "key": "a", "old": 1, "new": None},
        {"code": "recipe-changed", "key": "b", "old": None, "new": 2},
    ]


def test_of_a_changed_table_only_the_keys_that_changed_are_told() -> None:
    old: Json = {"target": "/x", "options": ["a"], "dump": 0}
    new: Json = {"target": "/x", "options": ["a", "b"], "dump": 0}
    assert changes({"mount[/x]": old}, {"mount[/x]": new}) == [
        {"code": "recipe-changed", "key": "mount[/x].options", "old": ["a"], "new": ["a", "b"]}
    ]


def test_an_added_or_removed_table_entry_is_told_as_one_difference() -> None:
    table: Json = {"target": "/x"}
    assert changes({"mount[/x]": table}, {"mount[/y]": table}) == [
        {"code": "recipe-changed", "key": "mount[/x]", "old": table, "new": None},
        {"code": "recipe-changed", "key": "mount[/y]", "old": None, "new": table},
    ]


def test_of_an_added_table_entry_the_digest_of_its_content_is_left_out() -> None:
    assert changes({}, {"file[/a]": {"guest": "/a", "content": "sha256:aa"}}) == [
        {"code": "recipe-changed", "key": "file[/a]", "old": None, "new": {"guest": "/a"}}
    ]


def test_of_changed_content_only_the_key_is_told() -> None:
    old: Json = {"content": "sha256:aa", "mode": 420}
    new: Json = {"content": "sha256:bb", "mode": 420}
    assert changes({"file[/a]": old}, {"file[/a]": new}) == [
        {"code": "recipe-changed", "key": "file[/a].content"}
    ]


def test_a_changed_source_is_told_by_the_words_of_the_manifest() -> None:
    new = replace(RECIPE, sources={"file_sync[/opt]": "d2"})
    assert differences(RECIPE, new, {"file_sync[/opt]": "~/app"}) == (
        Reason(ReasonCode.SOURCE_CHANGED, {"path": "~/app"}),
    )


def test_a_source_that_left_the_manifest_is_told_by_its_role() -> None:
    assert differences(RECIPE, replace(RECIPE, sources={}), {}) == (
        Reason(ReasonCode.SOURCE_CHANGED, {"path": "file_sync[/opt]"}),
    )


def test_another_kind_of_source_is_told_in_one_line_and_without_its_defaults() -> None:
    old = replace(
        RECIPE,
        fields={"rootfs.size": 24, "rootfs.owner": False, "patch.owner": False},
        sources={"rootfs.directory": "d1"},
    )
    new = replace(RECIPE, fields={"rootfs.size": 48, "rootfs.label": None}, sources={"rootfs.ext4": "d2"})
    assert [reason.to_json() for reason in differences(old, new, {"rootfs.ext4": "disk.ext4"})] == [
        {"code": "recipe-changed", "key": "rootfs", "old": "directory", "new": "ext4"},
        {"code": "recipe-changed", "key": "patch.owner", "old": False, "new": None},
        {"code": "recipe-changed", "key": "rootfs.size", "old": 24, "new": 48},
    ]


def test_a_default_that_is_no_longer_so_is_told_whatever_the_kind_of_source() -> None:
    old = replace(RECIPE, fields={"rootfs.owner": True}, sources={"rootfs.directory": "d1"})
    new = replace(RECIPE, fields={}, sources={"rootfs.tar": "d1"})
    assert [reason.facts["key"] for reason in differences(old, new, {})] == ["rootfs", "rootfs.owner"]
    new = replace(RECIPE, fields={"rootfs.owner": False}, sources=old.sources)
    assert [reason.facts["new"] for reason in differences(old, new, {})] == [False]


def test_a_synced_path_is_no_kind_of_source() -> None:
    old, new = (replace(RECIPE, sources={f"file_sync[/opt/a.{end}]": "d"}) for end in ("b", "c"))
    assert {reason.code for reason in differences(old, new, {})} == {ReasonCode.SOURCE_CHANGED}


def test_a_changed_input_is_told_by_its_id() -> None:
    new = replace(RECIPE, inputs={"vm.web.root": "bb"})
    assert differences(RECIPE, new, {}) == (Reason(ReasonCode.INPUT_CHANGED, {"id": "vm.web.root"}),)


def test_differences_come_in_one_order_whatever_the_order_of_the_fields() -> None:
    old = replace(RECIPE, fields={"b": 1, "a": 1}, sources={"s": "1"}, inputs={"i": "1"})
    new = replace(RECIPE, fields={"a": 2, "b": 2}, sources={"s": "2"}, inputs={"i": "2"})
    assert [reason.to_json() for reason in differences(old, new, {})] == [
        {"code": "recipe-changed", "key": "a", "old": 1, "new": 2},
        {"code": "recipe-changed", "key": "b", "old": 1, "new": 2},
        {"code": "source-changed", "path": "s"},
        {"code": "input-changed", "id": "i"},
    ]


def test_tools_are_told_apart_from_all_other_differences() -> None:
    new = replace(RECIPE, tools={"e2fsprogs": "1.47.1", "libext2fs": "1.47.1"})
    assert differences(RECIPE, new, {}) == ()
    assert [reason.to_json() for reason in tool_differences(RECIPE, new)] == [
        {"code": "tool-changed", "tool": "e2fsprogs", "old": "1.47.0", "new": "1.47.1"},
        {"code": "tool-changed", "tool": "libext2fs", "old": None, "new": "1.47.1"},
    ]


@given(recipes, recipes)
def test_recipes_differ_exactly_if_some_difference_is_told(one: Recipe, other: Recipe) -> None:
    one = replace(one, kind=other.kind)
    told = (*differences(one, other, {}), *tool_differences(one, other))
    assert bool(told) is (one != other)


def test_every_registered_kind_can_be_fingerprinted_without_its_name() -> None:
    step: Step = ImageRootfs("deb", TarSource(HostPath(Path("/a.tar"), "a.tar")))
    assert "name" not in step_fields(step)


def test_a_step_that_moved_to_another_image_is_told_once_by_the_names_of_the_images() -> None:
    old = replace(RECIPE, inputs={"image.b.rootfs": "1", "image.b.kernel": "2", "vm.web.root": "3"})
    new = replace(RECIPE, inputs={"image.c.rootfs": "4", "image.c.kernel": "5", "vm.web.root": "6"})
    assert differences(old, new, {}) == (
        Reason(ReasonCode.RECIPE_CHANGED, {"key": "image", "old": "b", "new": "c"}),
        Reason(ReasonCode.INPUT_CHANGED, {"id": "vm.web.root"}),
    )


def test_an_input_that_is_new_is_no_move() -> None:
    old = replace(RECIPE, inputs={"vm.web.root": "3"})
    new = replace(RECIPE, inputs={"image.c.kernel": "5", "vm.web.root": "3"})
    assert differences(old, new, {}) == (Reason(ReasonCode.INPUT_CHANGED, {"id": "image.c.kernel"}),)


def portable_of(tools: dict[str, str], inputs: dict[str, str], known: dict[str, str]) -> str:
    recipe = Recipe("image-rootfs", {"text": "a"}, inputs, {}, {"bangerbuild image-rootfs": "2", **tools})
    return portable(recipe, known)


def test_a_portable_fingerprint_is_the_same_with_other_versions_of_the_host_s_tools() -> None:
    one = portable_of({"e2fsprogs": "1.47.0", "SOURCE_DATE_EPOCH": "1"}, {"image.a.rootfs": "one"}, {})
    assert one == portable_of({"e2fsprogs": "2", "SOURCE_DATE_EPOCH": "1"}, {"image.a.rootfs": "one"}, {})
    assert one != portable_of({"e2fsprogs": "2", "SOURCE_DATE_EPOCH": "2"}, {"image.a.rootfs": "one"}, {})
    assert one != portable_of({"SOURCE_DATE_EPOCH": "1"}, {"image.a.rootfs": "other"}, {})
    assert one != portable_of({"bangerbuild image-rootfs": "3"}, {"image.a.rootfs": "one"}, {})


def test_in_a_portable_fingerprint_inputs_stand_for_their_own_portable_ones() -> None:
    known = {"image.a.rootfs": "same"}
    one, other = ({"image.a.rootfs": digits} for digits in ("one", "other"))
    assert portable_of({}, one, known) == portable_of({}, other, known)
