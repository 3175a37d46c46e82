"""Texts and JSON values that a program can misread."""

from __future__ import annotations

# fmt: off
TRAPS = [
    "", " ", "  ", "~", "null", "Null", "NULL", "true", "False", "y", "Y", "n", "yes", "No", "on", "OFF", "=",
    "<<", "<<: *a", "&a", "*a", "!", "!!int 1", "!!python/object/apply:os.system [ls]",
    "!<tag:yaml.org,2002:binary> aGk=", "%YAML 1.1", "---", "...", "--- a", "- x", "? x", ": x", "a: b",
    "a : b", "a:", "a #c", "#c", "|", ">", "|-", "@x", "`x`", "[a, b]", "{a: b}", "[", "{", "]", "}", ",",
    "'", '"', "''", '""', '"a', "\\", "\\\\", '\\"', "\\u0000", "\\ud800", "\\n", "0", "-1", "+1", "012",
    "0o14", "0x1F", "0b1", "1_000", "1e3", "1E400", ".5", "5.", "1.0", "-0", ".inf", "-.Inf", ".nan", "NaN",
    "Infinity", "12:30", "190:20:30.15", "1:00", "2024-01-01", "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43.10 -5", "a\nb", "a\n\n b", "\n", "a\r\nb", "\r", "\ta", "a\t", "tab\there",
    "a\n- uuid: x\n", '",\n    "x": {', "\n    },\n    {\n", '"source": "cmp_db"', "  origin: cmp_db",
    "\u0085", "a\u0085b", "\u00a0", "\u2028", "a\u2029b", "\ufeff", "\ufeffa", "a\ufeff", "\u200b", "\u200d",
    "\u202e\u2066abc\u2069", "\u061c", "\u00ad", "\u3000", "\ufffd", "\ufffe", "\uffff", "\ud7ff", "\ue000",
    "\U0001fffe", "\U0010ffff", "😀", "👩\u200d💻", "e\u0301", "é", "\u212a", "İ", "\u0131", "ß", "\u017f",
    "ﬁ", "٣", "日本", "אב", "snapshot", "SNAPSHOT", "x" * 5000, "x " * 3000 + "x", "\x1b[2J\x1b]0;x\x07",
    "'; drop table projects; --", "$body$", "%s %(name)s {0}", "../../../etc/passwd", "--help", "-", "\\.",
    "\\N",
]
"""Texts that YAML, JSON, SQL or a shell can misread."""

CONTROLS = [chr(code) for code in (*range(1, 0x20), *range(0x7f, 0xa1))]
TEXTS = [
    *TRAPS,
    *(
        before + one + after
        for one in CONTROLS
        for before, after in (("", ""), ("a", "b"), ("a ", ""), ("", " b"))
    ),
]
"""Texts for a column: the traps, and each control character alone, in the middle and beside blanks."""

VALUES = [
    "7", "-0", "0.10", "1e400", "12345678901234567890.000", "true", "false", "null", "[]", "{}", '""', '" "',
    '"text"', '[1, {"a": null}]', '{"github_url": "https://github.com/acme/inner"}',
    '["https://github.com/acme/listed"]', r'"\u2028\u0085\ufeff"', r'"\ud83d\ude00"',
    '"https://github.com/acme/value"', r'"\\u0000"', '"null"', "[" * 500 + "]" * 500,
]
"""JSON values in place of a text in `metadata_`."""

DOCUMENTS = [
    "[]", '["github_url"]', "[[]]", '"github_url"', '""', "7", "true", "false", "null", "{}",
    '{"GITHUB_URL": "x", "github_url ": "y"}',
    '{"github_url": "https://github.com/acme/first", "github_url": "https://github.com/acme/last"}',
    '[{"github_url": "x"}]',
]
"""JSON values in place of the whole object `metadata_`."""

UNREADABLE = [
    r'{"github_url": "a\u0000b"}', r'{"domain": "\ud800"}', r'{"other": "\udc00\ud800"}', r'{"\u0000": 1}',
    r'{"deep": ["\ud800x"]}',
]
"""A column of type json accepts these values, but PostgreSQL cannot read their parts.

The same is true for the value that `deepest_json` returns.
"""
# fmt: on

URLS = [
    "https://github.com/{0}",
    "http://www.github.com/{0}/",
    "git@github.com:{0}.git",
    "ssh://git@github.com/{0}",
    " https://GitHub.com/{0}.GIT/ ",
]
"""Ways to write the URL of a repository."""
