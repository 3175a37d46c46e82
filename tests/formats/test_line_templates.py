"""Templates of declared registries: what they render, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from omnicdc.formats.line_templates import (
    FOOTER_NAMES,
    HEADER_NAMES,
    TemplateFault,
    TemplateLines,
    Templates,
    compiled,
)
from omnicdc.formats.records import Shape

if TYPE_CHECKING:
    from omnicdc.formats.values import Record

COLUMNS = ("id", "name", "port", "meta")
STAMP = "2026-01-02T03:04:05.000006+00:00"


def layout(
    entry: str,
    header: str = "# {{ count }} entries\n# written at {{ generated_at }}\nmap {",
    footer: str = "}",
) -> TemplateLines:
    shape = Shape(COLUMNS, COLUMNS, {})
    templates = Templates(
        compiled(entry, COLUMNS), compiled(header, HEADER_NAMES), compiled(footer, FOOTER_NAMES)
    )
    return TemplateLines(shape, templates)


def row(**values: object) -> Record:
    return {"id": "1", "name": "apollo", "port": 80, "meta": {"a": [1]}} | values


def rendered(entry: str, **values: object) -> str:
    return layout(entry).rendered("1", [row(**values)]).decode()


@pytest.mark.parametrize(
    ("entry", "values", "expected"),
    [
        ("{{ name }} {{ port }};", {}, "apollo 80;\n"),
        ("{{ name }}\n", {}, "apollo\n"),
        ("{{ name }}{% if port %} weight={{ port }}{% endif %}", {"port": None}, "apollo\n"),
        ("{{ name }}{{ port }}", {"port": None}, "apollo\n"),
        ("{{ name }} {{ port is none }} {{ meta }}", {}, 'apollo false {"a": [1]}\n'),
        ("{% if port %}{{ name }}{% endif %}", {"port": None}, ""),
        ("- {{ name }}\n  port: {{ port }}", {}, "- apollo\n  port: 80\n"),
        ("{{ name | json }}", {"name": 'a"\nb'}, '"a\\"\\nb"\n'),
        ("{% for each in meta.a %}\n{{ each }}\n{% endfor %}", {"meta": {"a": [1, 2]}}, "1\n2\n"),
    ],
)
def test_a_template_renders_a_record(entry: str, values: dict[str, object], expected: str) -> None:
    assert rendered(entry, **values) == expected


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b", "a\x85b", "a\x1bb", "a\tb", "\n"])
def test_a_value_must_not_add_a_line(name: str) -> None:
    with pytest.raises(ValueError, match="no filter escapes it"):
        rendered("{{ name }};", name=name)
    assert rendered("{{ name | json }};", name=name).count("\n") == 1


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ("{{ meta.b.c }}", {}),
        ("{{ port / 0 }}", {}),
        ("{{ name + port }}", {}),
        ("{{ name.__class__.__mro__ }}", {}),
        ("{{ meta.update({}) }}", {}),
    ],
)
def test_a_record_that_cannot_be_rendered_is_refused(entry: str, values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the template cannot render it"):
        rendered(entry, **values)


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("a\n{{ nme }}", 2, "there is no nme; there are id, name, port, meta"),
        ("{{ name", 1, "unexpected end of template"),
        ("a\nb\n{% if %}", 3, "Expected an expression"),
        ("{{ name | random }}", 1, "No filter named 'random'"),
        ("{{ name | nope }}", 1, "No filter named 'nope'"),
        ("{{ cycler }}", 1, "there is no cycler"),
        ("{% include 'x' %}", 1, "other templates"),
        ("{% import 'x' as y %}", 1, "other templates"),
        ("{% extends 'x' %}", 1, "other templates"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_its_line(
    source: str, line: int, message: str
) -> None:
    with pytest.raises(TemplateFault, match=message) as refused:
        compiled(source, COLUMNS)

    assert refused.value.line == line


def test_a_file_is_split_into_header_lines_and_footer() -> None:
    lines = layout("{{ name }};")
    frame = lines.surround(2, STAMP)
    data = frame.header + b"apollo;\nzeus;\n" + frame.footer
    split = lines.split(data)

    assert data.decode() == f"# 2 entries\n# written at {STAMP}\nmap {{\napollo;\nzeus;\n}}\n"
    assert split.cores == [b"apollo;", b"zeus;"]
    assert lines.stamp(data) == STAMP
    assert lines.header(split) == {"header": "# 2 entries\n# written at \nmap {\n", "footer": "}\n"}
    assert [item.entry_key for item in lines.items(lines.parse(data))] == ["apollo;", "zeus;"]


def test_a_header_without_the_time_has_no_time() -> None:
    assert layout("{{ name }}", header="", footer="").stamp(b"2026-01-01\n") == ""


@pytest.mark.parametrize(
    ("header", "footer", "message"),
    [
        ("# {{ generated_at[:10] }}", "", "must show generated_at as it is"),
        ("# {{ generated_at | replace('T', ' ') }}", "", "must show generated_at as it is"),
        ("#\n{% if count %}# some{% endif %}", "", "same number of lines for each count"),
        ("#", "{% for each in range(count) %}\n}\n{% endfor %}", "same number of lines for each count"),
        ("#", "# {{ generated_at }}", "there is no generated_at"),
        ("# {{ 1 / count }}", "", "cannot be rendered: division by zero"),
        ("# {{ count.x.y }}", "", "cannot be rendered"),
    ],
)
def test_a_frame_in_which_a_reader_would_be_lost_is_refused(header: str, footer: str, message: str) -> None:
    with pytest.raises(TemplateFault, match=message):
        layout("{{ name }}", header, footer)
