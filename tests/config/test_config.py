"""Configuration: who wins, what a fault says, and that no password is ever shown."""

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
from omnicdc.daemon.supervisor import reloaded
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECRET = "hunter2 'and\\more"


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
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


def test_flags_win_over_the_environment_that_over_the_file_and_that_over_defaults(
    written: Callable[[str], Path],
) -> None:
    file = written("table: file\nconsumer: file\nwake: poll\n")

    got = read({"config": file, "table": "flag"}, OMNICDC_TABLE="env", OMNICDC_CONSUMER="env")

    assert (got.table, got.consumer, got.wake, got.on_drift) == ("flag", "env", "poll", "restore")


def test_a_flag_that_was_not_given_hides_nothing() -> None:
    got = read({"table": None, "workspaces": ()}, OMNICDC_TABLE="env", OMNICDC_WORKSPACES="/a")

    assert (got.table, got.workspaces) == ("env", (Path("/a"),))


def test_an_empty_variable_was_not_given() -> None:
    assert read(OMNICDC_TABLE="").table == "projects"


def test_every_setting_can_be_written_in_all_three_places(written: Callable[[str], Path]) -> None:
    spelled = {
        "dsn": "host=db", "password_file": __file__, "root": "/infra", "workspaces": "/w", "state_dir": "/s",
        "table": "cms.projects", "consumer": "a", "wake": "poll", "poll_s": "2m", "sweep_s": "2h",
        "refresh_s": "500ms", "retention": "2d", "consumer_expiry": "90s", "max_lag_s": "5m",
        "wait_connections": "2", "guard_share": "0.25", "guard_min": "3", "on_drift": "alert", "gh": "no",
        "github_owners": "omni", "log_level": "debug",
    }  # fmt: skip

    assert spelled.keys() == SETTINGS.keys()
    file = written("".join(f"{name}: {value}\n" for name, value in spelled.items()))
    from_file = read({"config": file})
    assert from_file == read(
        uid=1000, **{f"OMNICDC_{name.upper()}": value for name, value in spelled.items()}
    )
    assert from_file == read(spelled)
    assert not [name for name in SETTINGS if getattr(from_file, name) == SETTINGS[name].default]


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
def test_a_duration_has_a_unit_or_is_in_seconds(given: str, expected: float) -> None:
    """Only of a setting whose name says that it is in seconds."""
    assert read(OMNICDC_SWEEP_S=given).sweep_s == expected
    if given[-1].isalpha():
        assert read(OMNICDC_RETENTION=given).retention == timedelta(seconds=expected)


@pytest.mark.parametrize("name", ["retention", "consumer_expiry"])
@pytest.mark.parametrize("value", ["7", " 7 ", "0.5", "-7", "nan", "-1d"])
def test_a_duration_whose_setting_names_no_unit_needs_one(
    written: Callable[[str], Path], name: str, value: str
) -> None:
    """7 was seconds: the log was pruned after seven of them, where days were meant."""
    file = written(f"{name}: '{value}'\n")
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
        ("OMNICDC_WAKE", "bell"), ("OMNICDC_LOG_LEVEL", "loud"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_named_with_its_variable(variable: str, value: str) -> None:
    (fault,) = faults(uid=1000, **{variable: value})

    assert fault.startswith(f"{variable}: ")
    assert f"expected, found '{value}'" in fault


def test_every_fault_is_told_at_once_with_its_place(written: Callable[[str], Path]) -> None:
    file = written(
        "# comment\n"
        "pol_s: 3\n"
        "wake: maybe\n"
        "table: [a, b]\n"
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
        (b"table: [a\n", 2), (b"- a\n", 1), (b"just text\n", 1), (b"\n\ntable: \x01\n", 3),
        (b"a: 1\nb: \xff\n", 2), (b"table: *gone\n", 1), (b"table: a\n---\ntable: b\n", 2),
        (b"\ttable: a\n", 1),
    ],
)  # fmt: skip
def test_a_file_that_does_not_parse_is_one_line_with_its_line(
    tmp_path: Path, content: bytes, line: int
) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)

    (fault,) = faults(OMNICDC_CONFIG=str(file))

    assert fault.startswith(f"{file}:{line}: ")


def test_a_file_that_is_not_there_is_named_with_the_mend(tmp_path: Path) -> None:
    (fault,) = faults({"config": tmp_path / "gone.yaml"})

    assert fault == (
        f"{tmp_path}/gone.yaml: No such file or directory - name the file with --config FILE or "
        f"OMNICDC_CONFIG"
    )


def test_an_empty_file_and_a_null_mean_the_defaults(written: Callable[[str], Path]) -> None:
    assert read({"config": written("")}) == read()
    assert read({"config": written("table: ~\nworkspaces:\n")}) == read()


def test_a_file_that_lost_its_settings_is_not_taken_at_a_reload(written: Callable[[str], Path]) -> None:
    """One that was being written, or whose disk was full, put every setting back to its default."""
    file = written("sweep_s: 7s\n")
    config = read({"config": file, "root": "/srv"})
    for left in ("", "# sweep_s: 7s\n", "sweep_s:\n"):
        file.write_text(left)
        with capture_logs() as logged:
            kept = reloaded(lambda: read({"config": file, "root": "/srv"}), config)
        assert kept is config
        assert [(it["event"], it["error"]) for it in logged] == [
            ("reload_failed", "the configuration file holds no settings any more")
        ]
    file.write_text("poll_s: 8s\n")

    assert reloaded(lambda: read({"config": file, "root": "/srv"}), config).poll_s == 8


def test_the_file_gives_text_whatever_yaml_would_make_of_it(written: Callable[[str], Path]) -> None:
    got = read({"config": written("consumer: 012\ntable: 2024-01-01\ngh: no\n")})

    assert (got.consumer, got.table, got.gh) == ("012", "2024-01-01", False)


def test_a_strangers_variable_is_not_ours_to_judge() -> None:
    assert read(OMNICDC_FROBNICATE="1", OMNIC="2") == read()


def test_paths_are_relative_to_whoever_wrote_them(written: Callable[[str], Path]) -> None:
    file = written("root: infra\nworkspaces: [~/src, /abs]\n")

    got = read({"config": file, "state_dir": "state"})

    assert got.root == file.parent / "infra"
    assert got.workspaces == (Path("/home/op/src"), Path("/abs"))
    assert got.state_dir == Path.cwd() / "state"


def test_lists_are_separated_as_is_usual_in_the_environment() -> None:
    got = read(OMNICDC_WORKSPACES=f"/a{os.pathsep}/b c{os.pathsep}", OMNICDC_GITHUB_OWNERS="omni, heart")

    assert got.workspaces == (Path("/a"), Path("/b c"))
    assert got.github_owners == ("omni", "heart")


def test_the_root_is_asked_for_only_where_it_is_needed() -> None:
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
def test_the_state_directory_is_where_an_operator_looks_for_it(
    uid: int, environ: dict[str, str], expected: str
) -> None:
    assert read(uid=uid, **environ).state_dir == Path(expected)


def test_a_user_without_a_home_must_name_the_state_directory() -> None:
    (fault,) = faults(uid=4_000_000, HOME="")

    assert fault.endswith("--state-dir DIR or OMNICDC_STATE_DIR")
    assert read(uid=4_000_000, HOME="", OMNICDC_STATE_DIR="/s").state_dir == Path("/s")


def test_a_tilde_stands_for_a_home_and_without_one_is_refused() -> None:
    (fault,) = faults({"root": "~/infra"}, uid=4_000_000, HOME="", OMNICDC_STATE_DIR="/s")

    assert read({"root": "~/infra"}).root == Path("/home/op/infra")
    assert fault.startswith("--root: no home directory is known for ~/infra")


def test_a_dsn_is_made_robust_only_where_the_user_said_nothing() -> None:
    plain = connection(read({"dsn": "postgresql://u@db:6000/cms"}))
    spoken = connection(read({"dsn": "host=db connect_timeout=3 keepalives_idle=5 application_name=mine"}))
    by_variable = connection(read({"dsn": "host=db"}, PGCONNECT_TIMEOUT="2"))

    assert (plain["host"], plain["port"], plain["dbname"], plain["user"]) == ("db", "6000", "cms", "u")
    assert plain["fallback_application_name"] == "omnicdc"
    assert (plain["connect_timeout"], plain["tcp_user_timeout"]) == ("10", "30000")
    assert (spoken["connect_timeout"], spoken["keepalives_idle"]) == ("3", "5")
    assert spoken["application_name"] == "mine"
    assert "connect_timeout" not in by_variable


def test_cmp_variables_serve_with_their_own_port_and_database() -> None:
    got = connection(read(CMP_DB_HOST="db", CMP_DB_PASSWORD=SECRET))

    assert {**got, "host": "db", "port": "5433", "dbname": "cms_db", "password": SECRET} == got
    assert "user" not in got


def test_without_dsn_and_cmp_variables_libpq_decides() -> None:
    assert not {"host", "port", "dbname", "user", "password"} & connection(read()).keys()


def test_a_dsn_silences_cmp_variables() -> None:
    got = connection(read({"dsn": "host=other"}, CMP_DB_HOST="db", CMP_DB_PASSWORD=SECRET))

    assert got["host"] == "other"
    assert not {"port", "password"} & got.keys()


def test_the_password_file_wins_over_the_variable_but_not_over_the_dsn(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")

    assert connection(read({"password_file": file}, CMP_DB_PASSWORD="other"))["password"] == SECRET
    assert connection(read({"password_file": file, "dsn": "host=db"}))["password"] == SECRET
    assert connection(read({"password_file": file, "dsn": "host=db password=own"}))["password"] == "own"


def test_a_systemd_credential_is_found_without_being_asked_for(tmp_path: Path) -> None:
    assert read(CREDENTIALS_DIRECTORY=str(tmp_path)).password_file is None

    (tmp_path / "cmp_password").write_text(SECRET)

    assert connection(read(CREDENTIALS_DIRECTORY=str(tmp_path)))["password"] == SECRET


@pytest.mark.parametrize(
    "name", ["password_file", "root", "workspaces", "state_dir", "table", "consumer", "github_owners"]
)
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a\udcff", "text in UTF-8 expected"),
        ("a\nb", "one line of text expected, found a control character"),
        ("a\x1b[31m", "one line of text expected, found a control character"),
    ],
)
def test_a_name_of_another_encoding_or_of_several_lines_is_a_fault(
    name: str, written: str, expected: str
) -> None:
    """The database refused the one, and the other made two lines of a message, and colours."""
    variable = f"OMNICDC_{name.upper()}"
    environ: dict[str, Any] = {variable: written}

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


def test_a_password_is_never_in_the_repr_nor_in_the_description() -> None:
    config = read({"dsn": "postgresql://u:hunter2@db:6000/cms"})

    assert "hunter2" not in repr(config)
    assert describe_dsn(config.conninfo) == "host=db port=6000 dbname=cms user=u"


def test_what_libpq_would_fill_in_is_described_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGPASSWORD", "hunter2")

    described = describe_dsn("dbname=cms user=u")

    assert described == "host=elsewhere port=5432 dbname=cms user=u"
    assert describe_dsn("no equals sign") == "an unreadable connection string"


def test_importing_it_loads_neither_the_driver_nor_the_yaml_reader() -> None:
    heavy = "{'psycopg', 'ruamel.yaml', 'structlog', 'click', 'rich'}"
    code = f"import sys, omnicdc.config; print(sorted({heavy} & sys.modules.keys()))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_setting_explains_itself() -> None:
    assert [setting.name for setting in SETTINGS.values() if not setting.meaning] == []


def test_of_several_servers_the_one_that_takes_writes_is_looked_for() -> None:
    several = connection(read({"dsn": "host=a,b"}))
    own = connection(read({"dsn": "host=a,b target_session_attrs=any"}))
    one = connection(read({"dsn": "host=a"}))
    in_the_environment = connection(read({"dsn": "host=a,b"}, PGTARGETSESSIONATTRS="any"))

    assert several["target_session_attrs"] == "read-write"
    assert own["target_session_attrs"] == "any"
    assert "target_session_attrs" not in one
    assert "target_session_attrs" not in in_the_environment
