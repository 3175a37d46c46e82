"""A file of overrides or exclusions that loses its entries in an accident changes no registry."""

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
@pytest.mark.parametrize("left", ["", "\n", "# all gone\n", "---\n", "{top}:\n", "{top}: null\n"])
def test_a_file_that_had_entries_and_has_no_list_keeps_its_last_valid_version(
    host: Host, top: str, left: str
) -> None:
    """Everything was dropped without a word: most often such a file is a write that was cut off."""
    store = host.store()
    before, file = store.current, host.projects / NAMES[top]

    file.write_text(left.format(top=top))
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


@pytest.mark.parametrize("none", ["{top}: []\n", "{top}: {{}}\n", "{{}}\n"])
def test_an_explicit_empty_list_says_that_there_are_none(host: Host, none: str) -> None:
    store = host.store()
    for top, name in NAMES.items():
        (host.projects / name).write_text("")
        store.reread_people()
        (host.projects / name).write_text(none.format(top=top))
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


def test_a_symlink_that_leads_to_no_file_keeps_the_last_valid_version_until_it_is_removed(host: Host) -> None:
    """It was taken for a file that had been removed."""
    store = host.store()
    file = host.projects / NAMES["exclusions"]

    file.unlink()
    file.symlink_to(host.base / "not mounted")
    dangling = store.reread_people()
    told = store.faults
    file.unlink()
    removed = store.reread_people()

    assert dangling is None
    assert told == (f"{file}:1: the symlink {file} leads to no file; the last valid version stays in force",)
    assert removed is not None
    assert store.faults == ()
    assert store.notices == (f"{file}: the file was removed; the entries that it had no longer apply",)


def test_a_file_that_never_was_valid_is_not_said_to_have_a_last_valid_version(host: Host) -> None:
    """At a first start.

    What it was to exclude is not excluded, and the message said that the last valid version stays.
    """
    host.exclude("exclusions: nonsense")

    (fault,) = host.store().faults

    assert fault.endswith(
        "exclusions is not a list; no valid version of it is known, so none of its entries apply"
    )
