"""A program that uses every public client. It is not run: test_typing.py checks its types, as users do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, assert_type

from omnicdc.clients import (
    ApplyAnswer,
    ArchiveAnswer,
    ArchiveClient,
    AsyncGenesisClient,
    BatchAnswer,
    Finding,
    GenesisClient,
    MigrationClient,
    PlanAnswer,
    ProjectAnswer,
    RebuildAnswer,
    ValidationAnswer,
    ValidationClient,
    VerifyAnswer,
    WaitAnswer,
)

if TYPE_CHECKING:
    import psycopg


def wait_and_verify(conn: psycopg.Connection) -> bool:
    with GenesisClient(timeout=5.0, all_hosts=True) as client:
        with client.propagation(conn) as p:
            conn.execute("select 1")
        assert_type(p.token, str | None)
        assert_type(p.result, WaitAnswer)
        assert_type(p.result["success"], bool)
        assert_type(p.result["registries_updated"], list[str])
        assert_type(p.result["milliseconds"], float | None)
        assert_type(client.token(conn), str)
        assert_type(client.wait("1", 5.0), WaitAnswer)
        project = assert_type(client.propagate_project("apollo", timeout=5.0), ProjectAnswer)
        assert_type(project["scanner_results"]["cmp_scan"]["rewritten"], bool)
        batch = assert_type(client.propagate_batch(["apollo"], dry_run=True), BatchAnswer)
        assert_type(batch["count"], int)
        rebuild = assert_type(client.rebuild_all_registries(timeout=5.0), RebuildAnswer)
        assert_type(rebuild["operation"], Literal["full_rebuild"])
        assert_type(rebuild["results"], dict[str, str])
        verified = assert_type(client.verify_propagation("x"), VerifyAnswer)
        assert_type(verified["checks"]["in_canonical_uuids"], bool)
        return verified["verified"]


async def wait_and_verify_async(conn: psycopg.AsyncConnection) -> bool:
    async with AsyncGenesisClient(timeout=5.0) as client:
        async with client.propagation(conn) as p:
            await conn.execute("select 1")
        assert_type(p.result["verdict"] == "published", bool)
        assert_type(await client.token(conn), str)
        assert_type(await client.wait(timeout=5.0), WaitAnswer)
        assert_type(await client.propagate_project("apollo"), ProjectAnswer)
        assert_type(await client.propagate_batch(["apollo"]), BatchAnswer)
        assert_type(await client.rebuild_all_registries(), RebuildAnswer)
        verified = assert_type(await client.verify_propagation("x"), VerifyAnswer)
        return verified["verified"]


def migrate() -> int:
    with MigrationClient() as client:
        changes = client.set_status({"domain": "labs"}, "snapshot")
        changes += client.rename("apollo", "Apollo 11") + client.move_owner("acme", "newco")
        plan = assert_type(client.plan(changes), PlanAnswer)
        assert_type(plan["items"][0]["before"], dict[str, Any])
        assert_type(plan["not_checked"], list[str])
        report = assert_type(client.apply(plan, accept=["guard"], batch_size=10, timeout=5.0), ApplyAnswer)
        assert_type(report["items"][0]["result"], Literal["applied", "skipped", "not_written"])
        assert_type(report["batches"][0]["token"], str)
        return client.undo(report)["applied"]


def archive() -> list[str | None]:
    with ArchiveClient() as client:
        answer = assert_type(client.archive("apollo", reason="done", dry_run=True), ArchiveAnswer)
        assert_type(answer["plan"], PlanAnswer | None)
        assert_type(client.retire("apollo", write_exclusion=True)["notices"], list[str])
        assert_type(client.restore("apollo")["success"], bool)
        return [project["status_before"] for project in client.list()]


def validate() -> list[str]:
    with ValidationClient(statuses=["active"]) as client:
        answer = assert_type(client.check(["bad_url"]), ValidationAnswer)
        assert_type(answer["counts"], dict[str, int])
        findings = assert_type(answer["findings"], list[Finding])
        assert_type(client.repair(findings[0], dry_run=True), WaitAnswer)
        return [finding["remedy"] for finding in findings]


def wrong(client: GenesisClient, answer: WaitAnswer) -> None:
    client.wait(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    answer["succes"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]
