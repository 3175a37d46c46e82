"""Hypothesis strategies for rows of CMP and for people's files, used by `tests/faults/model/`.

The values are hostile. There are few different ones, so that equal values meet.
"""

from __future__ import annotations

from hypothesis import strategies as st

TEXTS = [
    "a", "B", "ä", "", " ", "no", "null", "~", "012", "1e3", "12:30", "2024-01-01", "- x", "a: b", "#c", "'",
    '"', "\\", "tab\t", "two\nlines", "\r", "\u0085", "\u2028", "\ufeff", "\x1b", "😀", "long " * 50, "{",
    "snapshot", "SNAPSHOT",
]  # fmt: skip
HEADS = [
    "https://github.com/", "http://www.GitHub.com/", "git@github.com:", "ssh://git@github.com/",
    "https://gitlab.com/", "",
]  # fmt: skip
REPOSITORIES = ["acme/a", "Acme/A", "acme/b", "acme/c", "acme/ä", "acme", "acme/a/b"]
TAILS = ["", ".git", "/", ".git/", " "]
IDS = [f"00000000-0000-0000-0000-{number:012}" for number in range(12)]
"""Few ids, so that writers change the same projects."""

texts = st.sampled_from(TEXTS) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
urls = st.builds("{}{}{}".format, *map(st.sampled_from, (HEADS, REPOSITORIES, TAILS)))
domains = st.none() | texts | st.sampled_from([7, 1.50, {"x": [1]}, True])
metadata = st.sampled_from([None, [1], "text", 7]) | st.fixed_dictionaries(
    {}, optional={"github_url": st.none() | urls, "domain": domains}
)
values = st.fixed_dictionaries(
    {"name": texts, **dict.fromkeys(["key", "type", "status"], st.none() | texts), "metadata_": metadata}
)
override = st.fixed_dictionaries(
    {"github_url": urls},
    optional={
        "aliases": st.lists(urls, max_size=1),
        "local_paths": st.lists(st.sampled_from(["/srv/a b", "/srv/no"]), max_size=2),
        "notes": st.sampled_from(["a note", "no", "ü: x"]),
        "status": st.sampled_from(["snapshot", "012"]),
    },
)
excluded = st.lists(st.sampled_from(["a", "B", "acme/c", "other/a"]), max_size=2)
