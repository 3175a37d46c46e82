"""Configuration: the precedence of its sources, the messages for faults, and passwords that stay hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from structlog.testing import capture_logs

from omnicdc.config.settings import SETTINGS, Config, describe_dsn, load
from omnicdc.daemon.reload import ReloadReport
from omnicdc.daemon.supervisor import reloaded
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECRET = "hunter2 'and\\more"


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "omnicdc.yaml"
        file.write_text(text, "utf-8")
        return file

    return write


def read(flags: Mapping[str, object] | None = None, /, *, uid: int = 1000, **environ: str) -> Config:
    return load(flags or {}, {"HOME": "/home/op", **environ}, uid=uid)


def faults(flags: Mapping[str, object] | None = None, /, *, uid: int = 1000, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(flags, uid=uid, **environ)
    return str(caught.value).splitlines()


def connection(config: Config) -> dict[str, Any]:
    return conninfo_to_dict(config.conninfo)


def test_precedence_is_flags_environment_file_defaults(
    write_file: Callable[[str], Path],
) -> None:
    file = write_file("tables: {projects: file}\nconsumer: file\nwake: poll\n")

    got = read(
        {"config": file, "tables": "projects=flag"}, OMNICDC_TABLES="projects=env", OMNICDC_CONSUMER="env"
    )

    assert (got.table_of("projects"), got.consumer, got.wake, got.on_drift) == (
        "flag",
        "env",
        "poll",
        "restore",
    )


def test_a_missing_flag_does_not_hide_the_variable() -> None:
    got = read({"root": None, "workspaces": ()}, OMNICDC_ROOT="/env", OMNICDC_WORKSPACES="/a")

    assert (got.root, got.workspaces) == (Path("/env"), (Path("/a"),))


def test_an_empty_variable_counts_as_unset() -> None:
    assert read(OMNICDC_TABLES="").table_of("projects") == "projects"


def test_every_setting_can_be_given_by_file_variable_and_flag(write_file: Callable[[str], Path]) -> None:
    given = {
        "dsn": "host=db", "password_file": __file__, "root": "/infra", "shadow": "/sh",
        "workspaces": "/w", "state_dir": "/s",
        "tables": "projects=cms.projects", "consumer": "a", "wake": "poll", "poll_s": "2m", "sweep_s": "2h",
        "refresh_s": "500ms", "retention": "2d", "consumer_expiry": "90s", "max_lag_s": "5m",
        "wait_connections": "2", "guard_share": "0.25", "guard_min": "3", "on_drift": "alert", "gh": "no",
        "on_publish": "reload", "hook_interval_s": "3s", "hook_timeout_s": "4s",
        "keep_generations": "7", "keep_bytes": "20MB",
        "github_owners": "omni", "log_level": "debug", "metrics": "9713", "metrics_textfile": "/n/o.prom",
        "otel": "on",
    }  # fmt: skip

    assert given.keys() == SETTINGS.keys()
    file = write_file("".join(f"{name}: {value}\n" for name, value in given.items()))
    from_file = read({"config": file})
    assert from_file == read(uid=1000, **{f"OMNICDC_{name.upper()}": value for name, value in given.items()})
    assert from_file == read(given)
    assert not [name for name in SETTINGS if getattr(from_file, name) == SETTINGS[name].default]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("9713", ("127.0.0.1", 9713)),
        ("0.0.0.0:9713", ("0.0.0.0", 9713)),
        ("[::1]:9713", ("::1", 9713)),
        ("localhost:0", ("localhost", 0)),
        ("off", None),
    ],
)
def test_a_bare_port_is_one_of_the_loopback_address(given: str, expected: tuple[str, int] | None) -> None:
    assert read(OMNICDC_METRICS=given).metrics == expected


@pytest.mark.parametrize("given", ["::1:9713", "host", "host:70000", "http://host:1", "host:", ":9713"])
def test_what_is_no_address_is_refused(given: str) -> None:
    assert faults(OMNICDC_METRICS=given) == [
        f"OMNICDC_METRICS: HOST:PORT, [IPV6]:PORT, PORT or off expected, found {given!r}"
    ]


def test_a_textfile_that_node_exporter_ignores_is_refused() -> None:
    [fault] = faults(OMNICDC_METRICS_TEXTFILE="/n/omnicdc.txt")

    assert "a file whose name ends in .prom expected" in fault


def test_spans_are_off_where_the_environment_names_no_collector() -> None:
    assert read().otel == "off"
    assert read(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318").otel == "auto"
    assert read(OMNICDC_OTEL="off", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318").otel == "off"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("90", 90.0),
        ("0.5", 0.5),
        ("250ms", 0.25),
        ("30s", 30.0),
        ("15m", 900.0),
        ("2 h", 7200.0),
        ("7d", 604800.0),
    ],
)
def test_a_duration_is_read_by_its_unit_or_in_seconds(given: str, expected: float) -> None:
    """A number without a unit is accepted only if the setting's name ends with `_s`."""
    assert read(OMNICDC_SWEEP_S=given).sweep_s == expected
    if given[-1].isalpha():
        assert read(OMNICDC_RETENTION=given).retention == timedelta(seconds=expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("4096", 4096), ("500MB", 500_000_000), ("1GiB", 1 << 30), ("1.5 kib", 1536), ("0", 0)],
)
def test_a_size_is_read_by_its_unit_or_in_bytes(given: str, expected: int) -> None:
    assert read(OMNICDC_KEEP_BYTES=given).keep_bytes == expected


@pytest.mark.parametrize("name", ["retention", "consumer_expiry"])
@pytest.mark.parametrize("value", ["7", " 7 ", "0.5", "-7", "nan", "-1d"])
def test_retention_and_consumer_expiry_need_a_unit(
    write_file: Callable[[str], Path], name: str, value: str
) -> None:
    """Regression: `retention: 7` meant 7 seconds, where the user meant days; the log was pruned."""
    file = write_file(f"{name}: '{value}'\n")
    (in_file,) = faults({"config": file})
    (in_variable,) = faults({}, uid=1000, **{f"OMNICDC_{name.upper()}": value})

    assert in_file.startswith(f"{file}:1: ")
    assert in_variable.startswith(f"OMNICDC_{name.upper()}: ")
    if value == "7":
        assert in_variable.endswith("a unit is missing: 7d or 7s?")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OMNICDC_POLL_S", "soon"), ("OMNICDC_POLL_S", "0"), ("OMNICDC_POLL_S", "-1"),
        ("OMNICDC_POLL_S", "nan"), ("OMNICDC_POLL_S", "9" * 12 + "d"), ("OMNICDC_GUARD_SHARE", "1.5"),
        ("OMNICDC_GUARD_SHARE", "50%"), ("OMNICDC_GUARD_MIN", "2.5"), ("OMNICDC_GH", "perhaps"),
        ("OMNICDC_KEEP_BYTES", "1 lot"), ("OMNICDC_KEEP_BYTES", "-1"),
        ("OMNICDC_WAKE", "bell"), ("OMNICDC_LOG_LEVEL", "loud"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_reported_with_its_variable(variable: str, value: str) -> None:
    (fault,) = faults(uid=1000, **{variable: value})

    assert fault.startswith(f"{variable}: ")
    assert f"expected, found '{value}'" in fault


def test_all_faults_are_reported_together_with_their_sources(write_file: Callable[[str], Path]) -> None:
    file = write_file(
        "# comment\n"
        "pol_s: 3\n"
        "wake: maybe\n"
        "root: [a, b]\n"
        "workspaces: [{a: b}]\n"
        "gh: true\n"
        "gh: false\n"
        "consumer: ''\n"
    )  # fmt: skip

    found = faults({"config": file, "on_drift": "panic"}, OMNICDC_ROOTS="x", OMNICDC_POLL_S="x")
    assert sorted(found) == sorted([
        f"{file}:2: no such setting as pol_s, did you mean poll_s?",
        f"{file}:3: notify or poll expected, found 'maybe'",
        f"{file}:4: one value expected, found a list",
        f"{file}:5: one value or a plain list expected",
        f"{file}:7: gh is set twice, first at {file}:6",
        f"{file}:8: text expected, found none",
        "OMNICDC_ROOTS: no such setting as roots, did you mean root?",
        "OMNICDC_POLL_S: a duration such as 30s, 15m, 2h or 7d expected, found 'x'",
        "--on-drift: restore or alert expected, found 'panic'",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"root: [a\n", 2), (b"- a\n", 1), (b"just text\n", 1), (b"\n\nroot: \x01\n", 3),
        (b"a: 1\nb: \xff\n", 2), (b"root: *gone\n", 1), (b"root: a\n---\nroot: b\n", 2),
        (b"\troot: a\n", 1),
    ],
)  # fmt: skip
def test_a_file_that_does_not_parse_is_reported_with_the_line_number(
    tmp_path: Path, content: bytes, line: int
) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)

    (fault,) = faults(OMNICDC_CONFIG=str(file))

    assert fault.startswith(f"{file}:{line}: ")


def test_a_missing_file_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (fault,) = faults({"config": tmp_path / "gone.yaml"})

    assert fault == (
        f"{tmp_path}/gone.yaml: No such file or directory - is the name right (--config, OMNICDC_CONFIG)?"
    )


def test_an_empty_file_and_a_null_mean_the_defaults(write_file: Callable[[str], Path]) -> None:
    assert read({"config": write_file("")}) == read()
    assert read({"config": write_file("root: ~\nworkspaces:\n")}) == read()


def test_a_reload_refuses_a_file_that_lost_all_settings(
    write_file: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    """Regression: a file that was just being written, or a full disk, reset every setting to its default."""
    file = write_file("sweep_s: 7s\n")
    config = read({"config": file, "root": "/srv"})
    for left in ("", "# sweep_s: 7s\n", "sweep_s:\n"):
        file.write_text(left)
        with capture_logs() as logged:
            kept = reloaded(lambda: read({"config": file, "root": "/srv"}), config, ReloadReport())
        assert kept is config
        assert [(it["event"], it["error"]) for it in logged] == [
            ("reload_failed", "the configuration file holds no settings any more")
        ]
    file.write_text("poll_s: 8s\n")

    assert not Path("reload.json").exists()
    assert reloaded(lambda: read({"config": file, "root": "/srv"}), config, ReloadReport()).poll_s == 8


def test_values_of_the_file_are_read_as_text(write_file: Callable[[str], Path]) -> None:
    got = read({"config": write_file("consumer: 012\ntables: {projects: null_1}\ngh: no\n")})

    assert (got.consumer, got.table_of("projects"), got.gh) == ("012", "null_1", False)


def test_variables_of_other_programs_are_ignored() -> None:
    assert read(OMNICDC_FROBNICATE="1", OMNIC="2") == read()


def test_relative_paths_start_at_the_file_or_the_working_directory(write_file: Callable[[str], Path]) -> None:
    file = write_file("root: infra\nworkspaces: [~/src, /abs]\n")

    got = read({"config": file, "state_dir": "state"})

    assert got.root == file.parent / "infra"
    assert got.workspaces == (Path("/home/op/src"), Path("/abs"))
    assert got.state_dir == Path.cwd() / "state"


def test_lists_in_variables_have_the_usual_separators() -> None:
    got = read(OMNICDC_WORKSPACES=f"/a{os.pathsep}/b c{os.pathsep}", OMNICDC_GITHUB_OWNERS="omni, heart")

    assert got.workspaces == (Path("/a"), Path("/b c"))
    assert got.github_owners == ("omni", "heart")


def test_a_missing_root_is_a_fault_only_where_it_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"no infrastructure root .* - --root DIR or OMNICDC_ROOT"):
        read().require_root()
    assert read(OMNICDC_ROOT="/infra").require_root() == Path("/infra")


@pytest.mark.parametrize(
    ("uid", "environ", "expected"),
    [
        (0, {}, "/var/lib/omnicdc"),
        (0, {"STATE_DIRECTORY": "/var/lib/private/omnicdc:/other"}, "/var/lib/private/omnicdc"),
        (1000, {}, "/home/op/.local/state/omnicdc"),
        (1000, {"XDG_STATE_HOME": "/x"}, "/x/omnicdc"),
        (1000, {"XDG_STATE_HOME": "/x", "OMNICDC_STATE_DIR": "/mine"}, "/mine"),
    ],
)
def test_the_state_directory_has_the_usual_default(uid: int, environ: dict[str, str], expected: str) -> None:
    assert read(uid=uid, **environ).state_dir == Path(expected)


def test_a_user_without_a_home_must_name_the_state_directory() -> None:
    (fault,) = faults(uid=4_000_000, HOME="")

    assert fault.endswith("--state-dir DIR or OMNICDC_STATE_DIR")
    assert read(uid=4_000_000, HOME="", OMNICDC_STATE_DIR="/s").state_dir == Path("/s")


def test_a_tilde_is_expanded_or_refused_without_a_home() -> None:
    (fault,) = faults({"root": "~/infra"}, uid=4_000_000, HOME="", OMNICDC_STATE_DIR="/s")

    assert read({"root": "~/infra"}).root == Path("/home/op/infra")
    assert fault.startswith("--root: no home directory is known for ~/infra")


def test_timeouts_are_added_to_a_dsn_unless_the_user_set_them() -> None:
    plain = connection(read({"dsn": "postgresql://u@db:6000/cms"}))
    explicit = connection(read({"dsn": "host=db connect_timeout=3 keepalives_idle=5 application_name=mine"}))
    by_variable = connection(read({"dsn": "host=db"}, PGCONNECT_TIMEOUT="2"))

    assert (plain["host"], plain["port"], plain["dbname"], plain["user"]) == ("db", "6000", "cms", "u")
    assert plain["fallback_application_name"] == "omnicdc"
    assert (plain["connect_timeout"], plain["tcp_user_timeout"]) == ("10", "30000")
    assert (explicit["connect_timeout"], explicit["keepalives_idle"]) == ("3", "5")
    assert explicit["application_name"] == "mine"
    assert "connect_timeout" not in by_variable


def test_cmp_variables_have_their_own_defaults_for_port_and_database() -> None:
    got = connection(read(CMP_DB_HOST="db", CMP_DB_PASSWORD=SECRET))

    assert {**got, "host": "db", "port": "5433", "dbname": "cms_db", "password": SECRET} == got
    assert "user" not in got


def test_without_dsn_and_cmp_variables_libpq_uses_its_defaults() -> None:
    assert not {"host", "port", "dbname", "user", "password"} & connection(read()).keys()


def test_with_a_dsn_cmp_variables_are_ignored() -> None:
    got = connection(read({"dsn": "host=other"}, CMP_DB_HOST="db", CMP_DB_PASSWORD=SECRET))

    assert got["host"] == "other"
    assert not {"port", "password"} & got.keys()


def test_the_password_file_wins_over_the_variable_but_not_over_the_dsn(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")

    assert connection(read({"password_file": file}, CMP_DB_PASSWORD="other"))["password"] == SECRET
    assert connection(read({"password_file": file, "dsn": "host=db"}))["password"] == SECRET
    assert connection(read({"password_file": file, "dsn": "host=db password=own"}))["password"] == "own"


def test_a_systemd_credential_is_used_as_password_file(tmp_path: Path) -> None:
    assert read(CREDENTIALS_DIRECTORY=str(tmp_path)).password_file is None

    (tmp_path / "cmp_password").write_text(SECRET)

    assert connection(read(CREDENTIALS_DIRECTORY=str(tmp_path)))["password"] == SECRET


@pytest.mark.parametrize(
    "name", ["password_file", "root", "workspaces", "state_dir", "tables", "consumer", "github_owners"]
)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a\udcff", "text in UTF-8 expected"),
        ("a\nb", "one line of text expected, found a control character"),
        ("a\x1b[31m", "one line of text expected, found a control character"),
    ],
)
def test_a_value_that_is_not_one_line_of_utf_8_is_a_fault(name: str, given: str, expected: str) -> None:
    """Regression: the database refused other encodings; control characters broke or coloured messages."""
    variable = f"OMNICDC_{name.upper()}"
    environ: dict[str, Any] = {variable: given}

    assert faults(**environ) == [f"{variable}: {expected}"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", None])
def test_a_password_file_without_a_password_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)

    (fault,) = faults({"password_file": file})

    assert fault.startswith(f"--password-file: {file}: ")


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db pass hunter2=1", "hunter2", "postgresql://u:hunter2/x@db/cms",
        "postgresql://u:hunter2%zz@db", "postgresql://[::1?password=hunter2", "password='hunter2",
        'host=db password=a "hunter2" x', "host=db port=hunter2", "host=db password=a hunter2=1",
        "postgresql://db?hunter2=1",
    ],
)  # fmt: skip
def test_a_bad_dsn_is_a_fault_that_shows_no_password(dsn: str) -> None:
    (fault,) = faults(OMNICDC_DSN=dsn)

    assert fault.startswith("OMNICDC_DSN: ")
    assert "hunter2" not in fault


def test_a_mistyped_connection_option_is_named() -> None:
    (fault,) = faults({"dsn": "hots=db password=hunter2"})

    assert "no such option as hots, did you mean host?" in fault
    assert "hunter2" not in fault


def test_a_password_is_neither_in_the_repr_nor_in_the_description() -> None:
    config = read({"dsn": "postgresql://u:hunter2@db:6000/cms"})

    assert "hunter2" not in repr(config)
    assert describe_dsn(config.conninfo) == "host=db port=6000 dbname=cms user=u"


def test_the_description_includes_the_defaults_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGPASSWORD", "hunter2")

    described = describe_dsn("dbname=cms user=u")

    assert described == "host=elsewhere port=5432 dbname=cms user=u"
    assert describe_dsn("no equals sign") == "an unreadable connection string"


def test_importing_the_configuration_loads_no_slow_library() -> None:
    heavy = "{'psycopg', 'ruamel.yaml', 'structlog', 'click', 'rich'}"
    code = f"import sys, omnicdc.config; print(sorted({heavy} & sys.modules.keys()))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_setting_has_a_meaning() -> None:
    assert [setting.name for setting in SETTINGS.values() if not setting.meaning] == []


def test_with_several_hosts_the_one_that_accepts_writes_is_chosen() -> None:
    two_hosts = connection(read({"dsn": "host=a,b"}))
    explicit = connection(read({"dsn": "host=a,b target_session_attrs=any"}))
    one_host = connection(read({"dsn": "host=a"}))
    from_environment = connection(read({"dsn": "host=a,b"}, PGTARGETSESSIONATTRS="any"))

    assert two_hosts["target_session_attrs"] == "read-write"
    assert explicit["target_session_attrs"] == "any"
    assert "target_session_attrs" not in one_host
    assert "target_session_attrs" not in from_environment
