"""A file of overrides or exclusions that loses its entries by accident changes no registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.inputs_host import ROCKET
from support.inputs_host import InputsHost as Host

from omnicdc.inputs.read_only import read_only

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {"overrides": "LOCAL_OVERRIDES_V1.yaml", "exclusions": "EXCLUSION_LIST_V1.yaml"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with an override and an exclusion."""
    host = Host(tmp_path)
    host.override(f"overrides: [{{github_url: {ROCKET}, notes: n}}]\n")
    host.exclude("exclusions: [{repo: one}]\n")
    return host


@pytest.mark.parametrize("top", [*NAMES])
@pytest.mark.parametrize("rest", ["", "\n", "# all gone\n", "---\n", "{top}:\n", "{top}: null\n"])
def test_a_file_that_had_entries_and_has_no_list_keeps_its_last_valid_version(
    host: Host, top: str, rest: str
) -> None:
    """Regression: all entries were dropped without a report.

    Most often, such a file is a write that was cut off.
    """
    store = host.store()
    before, file = store.current, host.projects / NAMES[top]

    file.write_text(rest.format(top=top))
    changed = store.reread_people()
    restarted = host.store()
    fault = (
        f"{file}:1: no list any more, as after a write that was cut off; "
        "the last valid version stays in force"
    )

    assert changed is None
    for each in (store, restarted):
        assert each.current == before
        assert each.faults == (f"{fault} - write `{top}: []` if there are to be none",)
    assert read_only(host.settings) == before


@pytest.mark.parametrize("empty", ["{top}: []\n", "{top}: {{}}\n", "{{}}\n"])
def test_an_explicit_empty_list_removes_all_entries(host: Host, empty: str) -> None:
    store = host.store()
    for top, name in NAMES.items():
        (host.projects / name).write_text("")
        store.reread_people()
        (host.projects / name).write_text(empty.format(top=top))
    store.reread_people()

    assert (store.current.overrides, store.current.excluded) == ({}, frozenset())
    assert (store.faults, store.notices) == ((), ())
    assert host.store().current == store.current


def test_a_file_that_never_had_entries_may_be_blank(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.override("# nothing yet\n")
    host.exclude("")
    store = host.store()
    host.exclude("exclusions:\n")
    store.reread_people()

    assert (store.faults, store.notices) == ((), ())


def test_a_dangling_symlink_keeps_the_last_valid_version_until_it_is_removed(host: Host) -> None:
    """Regression: it was treated like a removed file."""
    store = host.store()
    file = host.projects / NAMES["exclusions"]

    file.unlink()
    file.symlink_to(host.base / "not mounted")
    dangling = store.reread_people()
    faults = store.faults
    file.unlink()
    removed = store.reread_people()

    assert dangling is None
    assert faults == (
        f"{file}:1: the symlink {file} leads to no file; the last valid version stays in force",
    )
    assert removed is not None
    assert store.faults == ()
    assert store.notices == (f"{file}: the file was removed; the entries that it had no longer apply",)


def test_the_fault_of_a_file_that_was_never_valid_names_no_last_valid_version(host: Host) -> None:
    """This is a first start, so none of its entries apply.

    Regression: the message was that the last valid version stays in force.
    """
    host.exclude("exclusions: nonsense")

    (fault,) = host.store().faults

    assert fault.endswith(
        "exclusions is not a list; no valid version of it is known, so none of its entries apply"
    )
