"""The URL key is equal for all spellings of a URL, and is defined for every text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnicdc.formats.urls import github, github_with_case, is_excluded
from omnicdc.inputs import url_key

PIECES = st.sampled_from(
    [
        "git@",
        "ssh://",
        "http://",
        "https://",
        "www.",
        "WWW.",
        ":",
        "/",
        ".git",
        ".GIT",
        "github.com",
        " ",
        "\n",
        "A",
        "é",
    ]
)
URLISH = st.lists(PIECES | st.text(max_size=3), max_size=9).map("".join)


@pytest.mark.parametrize(
    "spelling",
    [
        "https://github.com/acme/rocket",
        "  https://github.com/Acme/Rocket.git/ \n",
        "HTTP://WWW.GitHub.com/acme/rocket//",
        "www.github.com/acme/rocket",
        "git@github.com:acme/rocket.git",
        "git@github.com:/acme/rocket",
        "Git@www.GitHub.com:Acme/Rocket.git",
        "ssh://git@github.com/acme/rocket.git",
        "ssh://git@www.github.com/acme/rocket.git/",
    ],
)
def test_all_spellings_of_a_repository_give_one_key(spelling: str) -> None:
    expected = "https://github.com/acme/rocket"

    assert url_key(spelling) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, ""),
        ("", ""),
        (" \t\n", ""),
        ("https://github.com/acme/acme.github.io", "https://github.com/acme/acme.github.io"),
        ("https://github.com/acme/www.site", "https://github.com/acme/www.site"),
        ("https://github.com/acme/digit", "https://github.com/acme/digit"),
        ("ssh://git@example.org:2222/acme/rocket.git", "https://example.org:2222/acme/rocket"),
        ("not a url", "not a url"),
        ("/srv/git/Rocket.git", "/srv/git/rocket"),
    ],
)
def test_only_known_parts_of_a_url_are_changed(url: str | None, expected: str) -> None:
    assert url_key(url) == expected


@given(URLISH)
def test_the_fast_way_and_the_slow_way_give_the_same(url: str) -> None:
    """A blank at the end makes a URL take the slow way."""
    assert url_key(f"{url} ") == url_key(url)
    assert github_with_case(f"{url} ") == github_with_case(url)


@given(URLISH)
def test_the_key_of_a_key_is_the_key(url: str) -> None:
    key = url_key(url)

    assert url_key(key) == key
    assert not key.endswith(("/", ".git"))
    assert key == key.strip()


@given(URLISH)
def test_owner_and_name_keep_their_case_and_match_the_key(url: str) -> None:
    owner, name = github_with_case(url)

    assert (github(url_key(url)) or ("", "")) == (owner.lower(), name.lower())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("git@github.com:Acme/Rocket.git", ("Acme", "Rocket")),
        ("https://WWW.github.com/Acme/acme.github.io/", ("Acme", "acme.github.io")),
        ("https://github.com/acme", ("", "")),
        ("https://github.com/acme/rocket/tree/main", ("", "")),
        ("https://github.com.evil.org/acme/rocket", ("", "")),
        ("https://gitlab.com/acme/rocket", ("", "")),
    ],
)
def test_only_an_owner_and_a_name_on_github_are_a_repository(url: str, expected: tuple[str, str]) -> None:
    assert github_with_case(url) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("https://github.com/acme/rocket", True),
        ("https://gitlab.com/other/rocket", True),
        ("https://github.com/acme/rocket-2", False),
        ("https://github.com/rocket/acme", False),
        ("https://github.com/acme/probe", True),
        ("https://github.com/other/probe", False),
        ("", False),
    ],
)
def test_a_bare_name_excludes_for_any_owner_and_a_full_name_for_its_own(key: str, expected: bool) -> None:
    assert is_excluded(key, {"rocket", "acme/probe"}) is expected
