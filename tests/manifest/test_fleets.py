"""Who is in a fleet: names, ranges, and the points of a matrix."""

from __future__ import annotations

from tests.manifest.loading import loaded, problems_of

IMAGE = 'image.ci.rootfs.tar = "root.tar"\n'


def test_names_are_ranges_and_lists_of_them() -> None:
    text = (
        IMAGE
        + '[fleet.a]\nvm.image = "ci"\nnames = ["x", "r-{08..10}"]\n[fleet.b]\nvm.image = "ci"\nnames = "y"'
    )
    assert loaded(text).fleets == {"a": ("x", "r-08", "r-09", "r-10"), "b": ("y",)}


def test_names_know_the_variables() -> None:
    text = IMAGE + '[vars]\nsite = "fra"\n[fleet.a]\nvm.image = "ci"\nnames = "{{ vars.site }}-{1..2}"'
    assert loaded(text).fleets == {"a": ("fra-1", "fra-2")}


def test_a_matrix_has_a_member_for_each_combination_that_is_not_excluded() -> None:
    text = (
        IMAGE
        + """
[fleet.t]
matrix = { suite = ["bookworm", "trixie"], size = [1, 2], fast = [true, false] }
exclude = [{ suite = "trixie", size = 1 }, { fast = false, size = 2 }]
name = "t-{{ suite[0] }}{{ size }}{{ 'f' if fast else 's' }}"
[fleet.t.vm]
image = "ci"
vcpus = "{{ size * 2 }}"
"""
    )
    found = loaded(text)
    assert found.fleets == {"t": ("t-b1f", "t-b1s", "t-b2f", "t-t2f")}
    assert [vm.vcpus for vm in found.vms.values()] == [2, 2, 4, 4]


def test_a_matrix_without_a_name_takes_that_of_the_fleet_and_the_values() -> None:
    text = IMAGE + '[fleet.t]\nvm.image = "ci"\nmatrix = { suite = ["sid"], size = [1, 2] }'
    assert loaded(text).fleets == {"t": ("t-sid-1", "t-sid-2")}


def test_a_default_name_that_is_none_says_how_to_give_one() -> None:
    (problem,) = problems_of(IMAGE + '[fleet.t]\nvm.image = "ci"\nmatrix = { v = ["3.11"] }')
    assert problem.message.startswith("'t-3.11' is no name for a VM")
    assert problem.message.endswith("(for v '3.11')")


def test_two_fleets_with_one_name_are_told() -> None:
    from tests.manifest.loading import problems, write  # noqa: PLC0415

    fleet = '[fleet.a]\nvm.image = "ci"\nnames = "x{}"\n'
    more = write("more.toml", fleet.format(1))
    main = write("vm.toml", 'include = ["more.toml"]\n' + IMAGE + fleet.format(2))
    (problem,) = problems(main)
    assert (problem.file, problem.line) == (str(more), 1)
    assert problem.message == "fleet 'a' is defined twice, first in fleet.a (vm.toml:3)"


def test_a_matrix_of_too_many_is_refused_before_it_is_made() -> None:
    axes = ", ".join(f"a{index} = {list(range(100))}" for index in range(8))
    (problem,) = problems_of(IMAGE + f'[fleet.t]\nvm.image = "ci"\nmatrix = {{ {axes} }}')
    assert problem.message == "the fleet has more than 100000 members"
