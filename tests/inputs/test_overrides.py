"""People's files: overrides and exclusions.

Each text is read as its author meant it. What cannot be read is reported with its line, and harms nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from omnicdc.errors import RegistryError
from omnicdc.inputs.overrides import (
    parse_exclusions,
    parse_overrides,
    read_exclusions,
    read_overrides,
    unmatched,
)
from omnicdc.model import Override

if TYPE_CHECKING:
    from pathlib import Path

ROCKET = "https://github.com/acme/rocket"


def test_overrides_are_found_by_the_key_of_their_url_and_of_their_aliases() -> None:
    data = b"""\
overrides:
- github_url: git@github.com:Acme/Rocket.git
  aliases: [http://www.gitlab.com/acme/rocket/, Rocket]
  local_paths: [/srv/rocket, "/srv/r\xc3\xb6cket"]
  notes: |
    two
    lines
  status: parked
"""
    expected = Override(("/srv/rocket", "/srv/röcket"), "two\nlines\n", "parked")

    reading = parse_overrides(data, "F")

    assert reading.faults == ()
    assert reading.value == {ROCKET: expected, "https://gitlab.com/acme/rocket": expected, "rocket": expected}


def test_later_overrides_win_and_a_path_alone_is_a_list_of_one() -> None:
    data = b"""\
overrides:
- {github_url: https://github.com/acme/rocket, notes: first, status: a}
- {aliases: https://github.com/acme/rocket, local_paths: /srv/rocket}
"""

    assert parse_overrides(data, "F").value == {ROCKET: Override(("/srv/rocket",), None, None)}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("no", "no"),
        ("012", "012"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("2024-99-99", "2024-99-99"),
        ("true", "true"),
        (".5", ".5"),
        ("=", "="),
        ("!!str null", "null"),
        ("'null'", "null"),
        ("null", None),
        ("~", None),
        ("", None),
        ("''", None),
        ("' '", " "),
    ],
)
def test_a_scalar_is_the_text_that_was_typed(written: str, expected: str | None) -> None:
    data = f"overrides:\n- github_url: {ROCKET}\n  notes: {written}\n".encode()

    assert parse_overrides(data, "F").value[ROCKET].notes == expected


def test_exclusions_are_names_or_owner_and_name_in_lower_case() -> None:
    data = b"""\
exclusions:
- repo: Rocket
  reason: retired
- repo: Acme/Probe
- repo: https://github.com/Acme/Lander.git
- repo: acme.github.io
- repo: www.site
- repo: 123
"""
    expected = {"rocket", "acme/probe", "acme/lander", "acme.github.io", "www.site", "123"}

    reading = parse_exclusions(data, "F")

    assert reading.value == expected
    assert reading.faults == ()


def test_each_bad_entry_is_reported_with_its_line_and_the_others_apply() -> None:
    data = b"""\
exclusions:
- repo: good
- bare text
- reason: no repo
- repo: [a, list]
- repo: a/b/c
- repo: https://gitlab.com/acme/rocket
- repo: twice
  repo: again
- repo: "\\ud800"
- repo: !!python/object/apply:os.system [touch pwned]
- repo: !weird thing
- repo: also good
"""
    expected = [
        "F:3: not an entry with fields; this entry is skipped",
        "F:4: repo is neither NAME nor OWNER/NAME; this entry is skipped",
        "F:5: repo is not text; this entry is skipped",
        "F:6: repo is neither NAME nor OWNER/NAME; this entry is skipped",
        "F:7: repo is neither NAME nor OWNER/NAME; this entry is skipped",
        "F:9: repo is in this entry twice; this entry is skipped",
        "F:10: repo holds half a surrogate pair; this entry is skipped",
        "F:11: repo is not text; this entry is skipped",
        "F:12: repo is not text; this entry is skipped",
    ]

    reading = parse_exclusions(data, "F")

    assert list(reading.faults) == expected
    assert reading.value == {"good", "also good"}


@pytest.mark.parametrize(
    "entry",
    ["notes: nobody", "github_url: ''", "github_url: null", "github_url: {a: b}", "aliases: [null]"],
)
def test_an_override_that_names_no_repository_is_reported(entry: str) -> None:
    data = f"overrides:\n- {entry}\n- github_url: {ROCKET}\n".encode()

    reading = parse_overrides(data, "F")

    assert len(reading.faults) == 1
    assert reading.faults[0].startswith("F:2: ")
    assert [*reading.value] == [ROCKET]


def test_merged_mappings_give_the_fields_that_the_entry_lacks() -> None:
    data = b"""\
defaults: &d {status: parked, notes: from d}
more: &m {notes: from m, local_paths: /m}
overrides:
- <<: [*d, *m]
  github_url: https://github.com/acme/rocket
  status: own
"""

    assert parse_overrides(data, "F").value == {ROCKET: Override(("/m",), "from d", "own")}


def test_a_merge_of_itself_ends() -> None:
    data = b"exclusions:\n- &a\n  <<: *a\n  repo: rocket\n- <<: 7\n  repo: x\n"

    reading = parse_exclusions(data, "F")

    assert reading.value == {"rocket"}
    assert reading.faults == ("F:5: << merges what is no mapping; this entry is skipped",)


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"[" * 600, id="nesting"),
        pytest.param(b"[" * 50_000, id="very deep nesting", marks=pytest.mark.campaign),
        pytest.param(
            b"a0: &a0 {repo: x}\n"
            + b"".join(
                b"a%d: &a%d {<<: [%s]}\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 20))
                for i in range(1, 200)
            )
            + b"exclusions:\n- *a199\n",
            id="merges",
        ),
        pytest.param(
            b"a0: &a0 [x]\n"
            + b"".join(
                b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 100)
            )
            + b"exclusions: *a99\n",
            id="aliases",
        ),
    ],
)
def test_yaml_bombs_neither_hang_nor_crash(bomb: bytes) -> None:
    try:
        reading = parse_exclusions(bomb, "F")
    except RegistryError as exc:
        assert str(exc).startswith("F:1: not YAML")  # noqa: PT017 - either outcome is right
    else:
        assert reading.value <= {"x"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"exclusions:\n- {repo: x\n", "F:3: not YAML (expected ',' or '}'"),
        (b"exclusions: []\n---\n{}\n", "F:2: not YAML (but found another document"),
        (b"exclusions: []\nx: \xff\n", "F:2: not YAML ("),
        (b"exclusions: []\nx: *nobody\n", "F:2: not YAML (found undefined alias)"),
        (b"- repo: x\n", "F:1: not a mapping with a list exclusions"),
        (b"just words\n", "F:1: not a mapping with a list exclusions"),
        (b"exclusion:\n- repo: x\n", "F:1: no `exclusions:` key in this file"),
        (b"exclusions: []\nexclusions: []\n", "F:2: the key `exclusions:` is in this file twice"),
        (b"\nexclusions: some\n", "F:2: exclusions is not a list"),
        (b"exclusions: ''\n", "F:1: exclusions is not a list"),
    ],
)
def test_a_file_without_a_valid_list_is_refused_with_the_line(data: bytes, expected: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_exclusions(data, "F")

    assert str(caught.value).startswith(expected)


def test_unknown_keys_of_overrides_are_reported_with_line_and_suggestion() -> None:
    data = b"""\
overrides:
- github_url: https://github.com/acme/rocket
  note: forgotten
  owner: somebody
  "a: b":
    - c
- Github_URL: https://github.com/acme/lander
  aliases: [lander]
"""

    reading = parse_overrides(data, "F")

    assert reading.faults == ()
    assert reading.notices == (
        "F:3: unknown key note (did you mean notes?); it has no effect",
        "F:4: unknown key owner; it has no effect",
        "F:5: unknown key; it has no effect",
        "F:7: unknown key Github_URL (did you mean github_url?); it has no effect",
    )


def test_unknown_keys_of_exclusions_are_reported_only_if_they_resemble_a_known_key() -> None:
    """People write notes under other keys, such as `reason` and `since`. That is no mistake."""
    data = b"exclusions:\n- repo: rocket\n  reason: retired\n  since: 2024\n  repos: lander\n"

    assert parse_exclusions(data, "F").notices == (
        "F:5: unknown key repos (did you mean repo?); it has no effect",
    )


def test_an_entry_that_matches_no_project_is_reported_with_its_line() -> None:
    keys = [ROCKET, "https://gitlab.com/other/lander", ""]
    overrides = b"""\
overrides:
- github_url: git@github.com:Acme/Rocket.git
- github_url: https://github.com/acme/rockets
- github_url: https://github.com/acme/moved
  aliases: [https://gitlab.com/other/lander]
"""
    exclusions = b"exclusions:\n- repo: LANDER\n- repo: acme/lander\n- repo: acme/rocket\n- repo: probe\n"

    assert unmatched(parse_overrides(overrides, "F"), keys) == (
        "F:3: matches no project in CMP; it has no effect",
    )
    assert unmatched(parse_exclusions(exclusions, "F"), keys) == (
        "F:3: matches no project in CMP; it has no effect",
        "F:5: matches no project in CMP; it has no effect",
    )


@pytest.mark.parametrize(
    ("data", "blank"),
    [
        (b"", True),
        (b" \n", True),
        (b"# nothing yet\n", True),
        (b"---\n# nothing yet\n", True),
        (b"\xef\xbb\xbf", True),
        (b"exclusions:\n", True),
        (b"exclusions: ~\n", True),
        (b"exclusions: []\n", False),
        (b"exclusions: {}\n", False),
        (b"{}\n", False),
    ],
)
def test_a_file_without_entries_is_blank_only_if_it_has_no_list(data: bytes, blank: bool) -> None:
    reading = parse_exclusions(data, "F")

    assert reading.value == frozenset()
    assert reading.faults == ()
    assert reading.blank == blank


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("latin-1", "F:3: not YAML (not UTF-8, byte 0xe9: save the file as UTF-8)"),
        ("utf-16-le", "F:1: not YAML (it holds NUL bytes, as UTF-16 without a byte order mark does: "),
        ("utf-32", "F:1: not YAML (it is UTF-32: "),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_the_encoding_to_use(encoding: str, expected: str) -> None:
    """Regression: the message was about an invalid continuation byte, or about special characters."""
    data = "exclusions:\n- repo: rocket\n  reason: é\n".encode(encoding)

    with pytest.raises(RegistryError) as caught:
        parse_exclusions(data, "F")

    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_whose_byte_order_mark_names_its_encoding_is_read(encoding: str) -> None:
    data = "exclusions:\n- repo: rocket\n  reason: é\n".encode(encoding)

    assert parse_exclusions(data, "F").value == {"rocket"}


def test_an_unknown_top_level_key_is_a_notice_unless_it_has_an_anchor() -> None:
    """A key with an anchor is there for merges."""
    overrides = b"override: []\nowner: me\ndefaults: &d {status: parked}\noverrides: []\n"
    exclusions = b"exclusion:\n- repo: rocket\nexclusions: []\nowner: me\n"

    assert parse_overrides(overrides, "F").notices == (
        "F:1: unknown key override (did you mean overrides?); it has no effect",
        "F:2: unknown key owner; it has no effect",
    )
    assert parse_exclusions(exclusions, "F").notices == (
        "F:1: unknown key exclusion (did you mean exclusions?); it has no effect",
    )


def test_two_overrides_of_one_repository_are_a_notice_that_names_the_one_in_force() -> None:
    data = b"""\
overrides:
- {github_url: https://github.com/acme/rocket, notes: first}
- {github_url: https://github.com/acme/lander, aliases: [https://github.com/Acme/Lander.git]}
- {aliases: git@github.com:acme/rocket.git, notes: second}
"""

    reading = parse_overrides(data, "F")

    assert reading.value[ROCKET].notes == "second"
    assert reading.notices == (f"F:4: overrides {ROCKET} as line 2 does; this entry counts",)


def test_an_entry_whose_key_is_misspelt_is_a_fault_that_names_the_key() -> None:
    """The entry cannot be used without the key. The suggestion only explains why."""
    exclusions = b"exclusions:\n- Repo: rocket\n- repos: lander\n"

    assert parse_exclusions(exclusions, "F").faults == (
        "F:2: repo is neither NAME nor OWNER/NAME (key Repo: did you mean repo?); this entry is skipped",
        "F:3: repo is neither NAME nor OWNER/NAME (key repos: did you mean repo?); this entry is skipped",
    )
    [fault] = parse_overrides(b"overrides:\n- github-url: x\n", "F").faults
    assert "(key github-url: did you mean github_url?)" in fault


def test_a_missing_file_is_an_empty_reading(tmp_path: Path) -> None:
    assert read_overrides(tmp_path / "none").value == {}
    assert read_exclusions(tmp_path / "none" / "none").value == frozenset()


def test_a_directory_and_a_pipe_are_refused_without_a_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(RegistryError, match="not a file"):
            read_overrides(path)
