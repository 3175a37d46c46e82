"""The recorded clients play the verdicts that a test names, and nothing else."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import TYPE_CHECKING, Any, assert_type, cast, get_args

import pytest

from omnicdc.answers.explain.answers import no_explanation
from omnicdc.clients import (
    AsyncGenesisClient,
    BatchAnswer,
    GenesisClient,
    ProjectAnswer,
    RebuildAnswer,
    VerifyAnswer,
    WaitAnswer,
)
from omnicdc.clients.answers import VerdictName  # noqa: TC001 - the type of a parameter
from omnicdc.delivery.verdict import CERTAIN, Status
from omnicdc.testing import Call, NothingToPlay, RecordedAsyncGenesisClient, RecordedGenesisClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UUID = "7d1a3c52-6f0e-4f55-9d37-2f1f4a1f0a11"
VERDICTS: tuple[VerdictName, ...] = (*get_args(Status), "unavailable")
WAITS: dict[str, tuple[type, Callable[[GenesisClient], Mapping[str, Any]]]] = {
    "wait": (WaitAnswer, lambda client: client.wait("7")),
    "propagate_project": (ProjectAnswer, lambda client: client.propagate_project("apollo")),
    "propagate_batch": (BatchAnswer, lambda client: client.propagate_batch(["apollo"])),
    "rebuild_all_registries": (RebuildAnswer, lambda client: client.rebuild_all_registries()),
}
DRY_RUNS: dict[str, tuple[type, Callable[[GenesisClient], Mapping[str, Any]]]] = {
    "propagate_project": (ProjectAnswer, lambda client: client.propagate_project("apollo", dry_run=True)),
    "propagate_batch": (BatchAnswer, lambda client: client.propagate_batch(["apollo"], dry_run=True)),
    "rebuild_all_registries": (RebuildAnswer, lambda client: client.rebuild_all_registries(dry_run=True)),
}


def methods(kind: type) -> dict[str, inspect.Signature]:
    """Return the signatures of the public methods, without those that need no instance."""
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and not isinstance(inspect.getattr_static(kind, name), staticmethod)
    }


@pytest.mark.parametrize(
    ("real", "recorded"),
    [(GenesisClient, RecordedGenesisClient), (AsyncGenesisClient, RecordedAsyncGenesisClient)],
)
def test_the_methods_and_their_signatures_are_those_of_the_real_client(real: type, recorded: type) -> None:
    """None is inherited, because the real one would need a database."""
    expected, found = methods(real), methods(recorded)

    assert {name: found[name] for name in expected} == expected
    assert expected.keys() <= vars(recorded).keys()
    for name in expected:
        assert inspect.iscoroutinefunction(vars(recorded)[name]) == inspect.iscoroutinefunction(
            getattr(real, name)
        ), name


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_verdict_gives_the_real_answer_and_success_follows(verdict: VerdictName) -> None:
    client = RecordedGenesisClient()
    for kind, call in WAITS.values():
        client.play(verdict)
        answer = call(client)

        assert answer.keys() == kind.__annotations__.keys()
        assert json.dumps(answer)
        assert (answer["verdict"], answer["success"]) == (verdict, verdict in CERTAIN)
        assert (answer["error"] is None) == (verdict in CERTAIN)
    with pytest.raises(TypeError):
        client.play(success=True)  # type: ignore[call-arg]


def test_the_parts_of_an_answer_agree() -> None:
    """What is not published has no result that looks as if it were."""
    client = RecordedGenesisClient()
    client.play("published", "held", "published", "timeout")
    published, held = client.propagate_project("apollo"), client.propagate_project("apollo")
    rebuilt, late = client.rebuild_all_registries(), client.rebuild_all_registries()

    assert all(it["success"] and it["rewritten"] for it in published["scanner_results"].values())  # type: ignore[index]
    assert not any(it["success"] or it["rewritten"] for it in held["scanner_results"].values())  # type: ignore[index]
    assert rebuilt["results"] == dict.fromkeys(
        ["cmp_projects", "project", "git", "cmp_agents"], "rewritten"
    ) | {"cmp_agents": "unchanged"}
    assert late["results"] == {}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_refused_until_a_verdict_is_named(name: str) -> None:
    client = RecordedGenesisClient()
    client.play_dry_run()
    client.play_verification()
    with pytest.raises(NothingToPlay) as caught:
        WAITS[name][1](client)

    assert str(caught.value) == (
        f"{name} was called, and there is no verdict left to play: "
        'call play("published") on the recorded client before'
    )


def test_dry_runs_and_verifications_are_refused_too() -> None:
    client = RecordedGenesisClient()
    client.always("published")
    for _, call in DRY_RUNS.values():
        with pytest.raises(NothingToPlay, match=r"play_dry_run\("):
            call(client)
    with pytest.raises(NothingToPlay, match=r"play_verification\("):
        client.verify_propagation(UUID)


def test_verdicts_are_played_in_order_and_then_the_usual_one() -> None:
    client = RecordedGenesisClient()
    client.play("timeout", "published")
    client.always("no_consumer", detail="night")
    played = [client.wait(timeout=3) for _ in range(4)]

    assert [it["verdict"] for it in played] == ["timeout", "published", "no_consumer", "no_consumer"]
    assert played[-1]["error"] == "no_consumer: night"
    assert client.calls == [Call("wait", {"timeout": 3})] * 4


def test_a_verdict_that_was_never_asked_for_is_an_error() -> None:
    client = RecordedGenesisClient()
    client.play("published", "timeout")
    client.wait()
    with pytest.raises(AssertionError, match=r"1 of the answers to play \(verdict\) were never asked for"):
        client.assert_all_played()
    client.wait()

    client.assert_all_played()


def test_unknown_names_are_refused() -> None:
    client = RecordedGenesisClient()
    with pytest.raises(
        ValueError, match="no such verdict as 'no_change': it is one of published, nothing_to_do"
    ):
        client.play(cast("Any", "no_change"))
    with pytest.raises(ValueError, match="no such check as 'in_cmp': it is one of in_canonical_uuids"):
        client.play_verification("in_cmp")


def test_dry_runs() -> None:
    client = RecordedGenesisClient()
    for kind, call in DRY_RUNS.values():
        client.play_dry_run("repo_inventory.json")
        client.play_dry_run(error="the root is not mounted")
        good, bad = call(client), call(client)

        assert good.keys() == kind.__annotations__.keys()
        assert (good["success"], good["dry_run"], good["verdict"]) == (True, True, None)
        assert good["registries_updated"] == ["repo_inventory.json"]
        assert (bad["success"], bad["verdict"], bad["error"]) == (
            False,
            "unavailable",
            "the root is not mounted",
        )


def test_verifications() -> None:
    client = RecordedGenesisClient()
    client.play_verification()
    client.play_verification("in_repo_inventory")
    client.play_verification(in_cmp=False)
    client.play_verification(error="CMP cannot be reached")
    found = [client.verify_propagation(UUID) for _ in range(4)]

    assert {tuple(it) for it in found} == {tuple(VerifyAnswer.__annotations__)}
    assert [it["verified"] for it in found] == [True, False, False, False]
    assert [len(it["missing_from"]) for it in found] == [0, 1, 3, 3]
    assert [it["in_cmp"] for it in found] == [True, True, False, None]
    assert found[1]["missing_from"] == ["in_repo_inventory"]
    assert (found[3]["verdict"], found[3]["error"]) == ("unavailable", "CMP cannot be reached")


def test_a_propagation_runs_its_block_and_does_not_use_the_connection() -> None:
    client = RecordedGenesisClient()
    client.play("published")
    token = client.token(None)
    with client.propagation(object()) as p:
        assert len(p.result) == 0

    assert p.token not in (None, token)
    assert (p.result["token"], p.result["verdict"]) == (p.token, "published")


def test_a_block_that_raises_uses_no_verdict() -> None:
    """As with the real client: the exception goes on, and there is no wait."""
    client = RecordedGenesisClient()
    client.play("published")
    with pytest.raises(LookupError), client.propagation(None) as p:
        raise LookupError

    assert (len(p.result), client.rolled_back) == (0, [p.token])
    assert client.wait()["verdict"] == "published"


def test_a_call_that_the_real_client_refuses_is_refused() -> None:
    client = RecordedGenesisClient()
    client.always("published")

    assert client.propagate_batch("apollo")["verdict"] == "unavailable"


def test_the_asynchronous_client_plays_in_the_same_way() -> None:
    async def calls(client: RecordedAsyncGenesisClient) -> tuple[WaitAnswer, ProjectAnswer, VerifyAnswer]:
        async with client, client.propagation(None) as p:
            await client.token(None)
        await client.rebuild_all_registries()
        await client.propagate_batch(["apollo"])
        await client.wait("7")
        return p.result, await client.propagate_project("apollo"), await client.verify_propagation(UUID)

    client = RecordedAsyncGenesisClient()
    client.play("published", "published", "published", "published", "timeout")
    client.play_verification()
    written, late, verified = asyncio.run(calls(client))

    client.assert_all_played()
    assert (written["success"], late["verdict"], verified["verified"]) == (True, "timeout", True)
    assert [call.method for call in client.calls] == [
        "propagation",
        "token",
        "rebuild_all_registries",
        "propagate_batch",
        "wait",
        "propagate_project",
        "verify_propagation",
    ]
    with pytest.raises(NothingToPlay):
        asyncio.run(client.wait())


def test_a_type_checker_sees_the_types(
    omnicdc_recorded: RecordedGenesisClient, omnicdc_recorded_async: RecordedAsyncGenesisClient
) -> None:
    """`make types` checks this file. A recorded client may be passed where the real one is expected."""
    clients: tuple[GenesisClient, AsyncGenesisClient] = (omnicdc_recorded, omnicdc_recorded_async)
    omnicdc_recorded.play("published")
    answer = omnicdc_recorded.wait()
    with pytest.raises(ValueError, match="no such verdict"):
        omnicdc_recorded.play("publishd")  # type: ignore[arg-type]

    assert_type(answer, WaitAnswer)
    assert_type(omnicdc_recorded.calls, list[Call])
    assert all(clients)


def test_an_explanation_is_the_one_that_the_test_gives() -> None:
    client, explanation = RecordedGenesisClient(), no_explanation("no project in CMP is named 'atlas'", "")

    with pytest.raises(NothingToPlay, match="play_explanation"):
        client.explain("atlas")
    client.play_explanation(explanation)
    with pytest.raises(AssertionError, match="explanation"):
        client.assert_all_played()

    assert client.explain("atlas") == explanation
    assert client.calls[-1] == ("explain", {"project": "atlas"})
