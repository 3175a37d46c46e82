"""The client's contract (docs/client.md).

Each answer has every documented key, and a type checker sees the types.
"""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type, cast, get_type_hints

import pytest
from click.testing import CliRunner
from support.external_changes import file_instead
from support.host import CANONICAL, Host

from omnicdc.cli import omnicdc
from omnicdc.clients import BatchAnswer, GenesisClient, ProjectAnswer, RebuildAnswer, VerifyAnswer, WaitAnswer
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.cmp import Cmp

UUID = "7d1a3c52-6f0e-4f55-9d37-2f1f4a1f0a11"
CALLS: dict[str, tuple[type, Callable[[GenesisClient], Mapping[str, Any]]]] = {
    "wait": (WaitAnswer, lambda client: client.wait()),
    "an invalid token": (WaitAnswer, lambda client: client.wait("x")),
    "an invalid time-out": (WaitAnswer, lambda client: client.wait(timeout=math.nan)),
    "project": (ProjectAnswer, lambda client: client.propagate_project("P")),
    "project, dry": (ProjectAnswer, lambda client: client.propagate_project("P", dry_run=True)),
    "everything, dry": (ProjectAnswer, lambda client: client.propagate_project(dry_run=True)),
    "batch": (BatchAnswer, lambda client: client.propagate_batch(["P"])),
    "batch, dry": (BatchAnswer, lambda client: client.propagate_batch(["P"], dry_run=True)),
    "a text as a batch": (BatchAnswer, lambda client: client.propagate_batch("abc")),
    "nothing as a batch": (BatchAnswer, lambda client: client.propagate_batch(cast("Any", None))),
    "bytes as a name": (ProjectAnswer, lambda client: client.propagate_project(cast("Any", b"x"))),
    "a path in a batch": (BatchAnswer, lambda client: client.propagate_batch(cast("Any", [Path("x")]))),
    "a time-out beyond all clocks": (WaitAnswer, lambda client: client.wait("x", timeout=10**400)),
    "rebuild": (RebuildAnswer, lambda client: client.rebuild_all_registries()),
    "rebuild, dry": (RebuildAnswer, lambda client: client.rebuild_all_registries(dry_run=True)),
    "verify": (VerifyAnswer, lambda client: client.verify_propagation(UUID)),
    "verify an invalid UUID": (VerifyAnswer, lambda client: client.verify_propagation("x")),
}


def _answers(host: Host, more: str = "") -> dict[str, Mapping[str, Any]]:
    with GenesisClient(config=host.config(OMNICDC_DSN=host.env["OMNICDC_DSN"] + more), timeout=0) as client:
        return {name: call(client) for name, (_, call) in CALLS.items()}


def test_type_hints_can_be_read_at_run_time() -> None:
    """Regression: typing.get_type_hints failed on names that only a type checker imports."""
    assert [get_type_hints(kind) for kind, _ in CALLS.values()]


def test_every_documented_key_is_in_every_answer(cmp: Cmp, host: Host) -> None:
    """Three cases: without a daemon, without CMP, and with both."""
    cmp.upsert("P")
    down, unreachable = _answers(host), _answers(host, " host=127.0.0.1 port=1")
    host.daemon()
    served = _answers(host)

    for answers in (down, unreachable, served):
        for name, (kind, _) in CALLS.items():
            assert answers[name].keys() == kind.__annotations__.keys(), name
            assert json.dumps(answers[name])
    assert {it["error"] is None for it in unreachable.values()} == {False}
    assert {name for name, it in served.items() if it["error"]} >= {
        "a text as a batch",
        "an invalid token",
    }
    checks = dict.fromkeys(["in_canonical_uuids", "in_project_registry", "in_repo_inventory"], False)
    for answers in (down, unreachable, served):
        assert answers["verify"]["checks"] == checks
        assert answers["verify"]["missing_from"] == list(checks)


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf, "5", None, True])
def test_the_client_refuses_an_invalid_time_out(host: Host, timeout: Any) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match="0 or more"):
        GenesisClient(config=host.config(), timeout=timeout)


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf"])
@pytest.mark.parametrize("command", ["wait", "accept", "rebuild"])
def test_the_command_refuses_an_invalid_time_out(host: Host, command: str, timeout: str) -> None:
    done = CliRunner().invoke(omnicdc, [command, f"--timeout={timeout}"], env=host.env)

    assert done.exit_code == 2
    assert "is not a number of seconds, 0 or more" in done.output


def test_a_time_out_of_a_command_may_have_a_unit_as_in_the_settings(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas")

    waited = host.ask("wait", "--timeout", "50ms")
    wrong = host.run("wait", "--timeout", "5 parsecs")

    assert waited["verdict"] == "no_consumer"
    assert wrong.returncode == 2
    assert "nor a duration such as 5m" in wrong.stderr


def test_the_constructor_accepts_the_arguments_of_genesis(
    cmp: Cmp, host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`omni_root` is the root, and so is a path as the first argument."""
    project = cmp.upsert("P")
    host.once()
    for name, value in (host.env | {"OMNICDC_ROOT": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    clients = [
        GenesisClient(host.root),
        GenesisClient(str(host.root)),
        GenesisClient(omni_root=host.root),
        GenesisClient(cmp.dsn, root=str(host.root)),
    ]

    assert [client.verify_propagation(project)["verified"] for client in clients] == [True] * 4
    assert GenesisClient().verify_propagation(project)["verified"] is False
    with pytest.raises(ConfigError, match="two roots"):
        GenesisClient(host.root, omni_root=tmp_path)
    for client in clients:
        client.close()


def test_each_scanner_has_its_result(cmp: Cmp, host: Host) -> None:
    """The scanners have Omni's names. A held registry does not make the results of the others false."""
    project = cmp.upsert("P", github_url="https://github.com/acme/p")
    host.daemon()
    with GenesisClient(config=host.config(), timeout=20) as client:
        cmp.set(project, status="paused")
        published = client.propagate_project("P")["scanner_results"]
        file_instead((host.root / CANONICAL).parent)
        cmp.set(project, status="active")
        held = client.propagate_batch(["P"])
        rebuilt = client.rebuild_all_registries()

    assert published == {
        "cmp_scan": {"success": True, "rewritten": True},
        "project_registry": {"success": True, "rewritten": True},
        "git_registry": {"success": True, "rewritten": False},
    }
    assert held["verdict"] == "held"
    succeeded = [it["success"] for it in held["scanner_results"].values()]  # type: ignore[index]
    assert succeeded == [False, True, True]
    assert (rebuilt["success"], rebuilt["results"]["cmp_projects"]) == (False, "held")


def test_a_rebuild_with_a_quarantined_project_names_the_scanners_that_ran(cmp: Cmp, host: Host) -> None:
    """Regression: the answer claimed that no scanner had run."""
    cmp.conn.execute("alter table projects alter name drop not null")
    cmp.conn.execute("insert into projects (key) values ('nameless')")
    host.daemon()
    with GenesisClient(config=host.config(), timeout=20) as client:
        answer = client.rebuild_all_registries()

    assert (answer["success"], answer["verdict"]) == (False, "quarantined")
    assert answer["scanners_run"] == ["cmp_projects", "project", "git"]
    assert set(answer["results"].values()) == {"unchanged"}


def test_a_type_checker_sees_the_types(host: Host) -> None:
    """`py.typed`, and answers that are TypedDicts.

    `make types` checks this file, and refuses a `type: ignore` that is not needed.
    """
    with GenesisClient(config=host.config(OMNICDC_DSN="host=127.0.0.1 port=1 dbname=x"), timeout=0) as client:
        answer, verification = client.propagate_project("apollo"), client.verify_propagation(UUID)

    assert_type(answer, ProjectAnswer)
    assert_type(answer["success"], bool)
    with pytest.raises(KeyError):
        answer["sucess"]  # type: ignore[typeddict-item]
    with pytest.raises(AttributeError):
        verification["checks"]["in_repo_inventory"].upper()  # type: ignore[attr-defined]
    assert resources.files("omnicdc").joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dsn": ""}, "GenesisClient(dsn=…): text expected"),
        ({"dsn": "x=y"}, "GenesisClient(dsn=…): not a connection string"),
        ({"root": ""}, "GenesisClient(root=…): text expected"),
    ],
)
def test_a_setting_is_named_as_the_caller_wrote_it(given: dict[str, str], message: str) -> None:
    """The message names the argument of GenesisClient, as a program has no option `--dsn`."""
    with pytest.raises(ConfigError) as caught:
        GenesisClient(**cast("Any", given))

    assert message in str(caught.value)
    assert "--dsn" not in str(caught.value)


def test_a_dry_run_without_a_root_does_not_succeed(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """The root is not mounted. Regression: the answer was a success that would rewrite everything."""
    cmp.upsert("P")
    not_mounted = str(tmp_path / "not mounted")
    with GenesisClient(config=host.config(OMNICDC_ROOT=not_mounted)) as client:
        answers: list[Mapping[str, Any]] = [
            client.rebuild_all_registries(dry_run=True),
            client.propagate_project("P", dry_run=True),
            client.propagate_project(dry_run=True),
            client.propagate_batch(["P"], dry_run=True),
        ]
    command = host.run("rebuild", "--dry-run", OMNICDC_ROOT=not_mounted)

    assert [(it["success"], it["verdict"], it["registries_updated"]) for it in answers] == [
        (False, "unavailable", [])
    ] * 4
    assert all("not a directory" in it["error"] for it in answers)
    assert (command.returncode, command.stdout) == (2, "")
