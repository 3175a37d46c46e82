"""P5: `propagation` waits for what its block committed, or refuses before the block runs.

This holds for every driver and every mode.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import class_row, dict_row, scalar_row
from support.cmp import undo
from support.evidence import every

from omnicdc.clients import GenesisClient, Propagation
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.host import Host

INSERT = "insert into projects (name) values ('apollo')"

Opened = tuple[Any, Callable[[str], Any]]
"""A connection, and a function that runs a statement through it."""


def _dbapi(conn: Any) -> Opened:  # noqa: ANN401 - any driver's
    def run(statement: str) -> None:
        cursor = conn.cursor()
        cursor.execute(statement)
        cursor.close()

    return conn, run


def _psycopg(cmp: Cmp, **options: Any) -> Opened:  # noqa: ANN401 - psycopg's own
    return _dbapi(psycopg.connect(cmp.dsn, **options))


def _psycopg2(cmp: Cmp, *, autocommit: bool = False, **options: Any) -> Opened:  # noqa: ANN401 - as above
    psycopg2 = pytest.importorskip("psycopg2")
    conn = psycopg2.connect(cmp.dsn, **options)
    conn.autocommit = autocommit
    return _dbapi(conn)


def _psycopg2_dicts(cmp: Cmp) -> Opened:
    return _psycopg2(cmp, cursor_factory=pytest.importorskip("psycopg2.extras").RealDictCursor)


def _pg8000(cmp: Cmp, *, autocommit: bool = False) -> Opened:
    """In older releases its cursors are not context managers. Its errors carry a dict."""
    pg8000 = pytest.importorskip("pg8000.dbapi")
    given = psycopg.conninfo.conninfo_to_dict(cmp.dsn)
    socket = f"{given['host']}/.s.PGSQL.{given.get('port', 5432)}"
    where = {"unix_sock": socket} if str(given["host"]).startswith("/") else {"host": given["host"]}
    conn = pg8000.connect(user=given.get("user", "postgres"), database=given["dbname"], **where)
    conn.autocommit = autocommit
    return _dbapi(conn)


def _engine(cmp: Cmp, **options: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's
    sqlalchemy = pytest.importorskip("sqlalchemy")
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(cmp.dsn),
        poolclass=pytest.importorskip("sqlalchemy.pool").NullPool,
        **options,
    )


def _core(cmp: Cmp, **options: Any) -> Opened:  # noqa: ANN401 - as above
    conn = _engine(cmp, **options).connect()
    return conn, conn.exec_driver_sql


def _session(cmp: Cmp, **options: Any) -> Opened:  # noqa: ANN401 - as above
    session = pytest.importorskip("sqlalchemy.orm").Session(_engine(cmp, **options))
    return session, lambda statement: session.connection().exec_driver_sql(statement)


class NamedRow:
    """A class for rows with one column, `name`."""

    def __init__(self, *, name: str) -> None:
        self.name = name


DRIVERS: dict[str, Callable[[Cmp], Opened]] = {
    "psycopg": _psycopg,
    "psycopg autocommit": lambda cmp: _psycopg(cmp, autocommit=True),
    "psycopg2": _psycopg2,
    "pg8000": _pg8000,
    "SQLAlchemy Core": _core,
    "SQLAlchemy Session": _session,
}
ROWS: dict[str, Callable[[Cmp], Opened]] = {
    "psycopg dict_row": lambda cmp: _psycopg(cmp, row_factory=dict_row),
    "psycopg scalar_row": lambda cmp: _psycopg(cmp, row_factory=scalar_row),
    "psycopg class_row": lambda cmp: _psycopg(cmp, row_factory=class_row(NamedRow)),
    "psycopg2 RealDictCursor": _psycopg2_dicts,
}
AUTOCOMMIT: dict[str, Callable[[Cmp], Opened]] = {
    "psycopg2": lambda cmp: _psycopg2(cmp, autocommit=True),
    "pg8000": lambda cmp: _pg8000(cmp, autocommit=True),
    "SQLAlchemy Core": lambda cmp: _core(cmp, isolation_level="AUTOCOMMIT"),
    "SQLAlchemy Session": lambda cmp: _session(cmp, isolation_level="AUTOCOMMIT"),
}
each_driver = pytest.mark.parametrize("opening", every(2, DRIVERS))


@pytest.fixture
def opened(cmp: Cmp, request: pytest.FixtureRequest) -> Iterator[Opened]:
    conn, run = (DRIVERS | ROWS)[request.node.callspec.params["opening"]](cmp)
    yield conn, run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pg8000's socket
        conn.close()


@pytest.fixture
def client(cmp: Cmp, host: Host) -> GenesisClient:
    """A client of a CMP whose registry host is down. A wait answers at once how the transaction ended."""
    del cmp
    return GenesisClient(config=host.config(), timeout=0)


@pytest.mark.parametrize("opening", every(2, [*DRIVERS, *ROWS]))
def test_a_propagation_waits_for_exactly_its_transaction(
    cmp: Cmp, opened: Opened, client: GenesisClient, opening: str
) -> None:
    """A block that raises an exception is rolled back, and is not waited for."""
    del opening
    conn, run = opened

    def give_up() -> None:
        with client.propagation(conn) as given_up:
            outcomes.append(given_up)
            run(INSERT)
            raise ZeroDivisionError

    outcomes: list[Propagation] = []
    with pytest.raises(ZeroDivisionError):
        give_up()
    with client.propagation(conn) as propagation:
        run(INSERT)

    assert propagation.token == cmp.value("select xid::text from omnicdc.change")
    assert propagation.result["token"] == propagation.token
    assert propagation.result["verdict"] == "no_consumer"
    assert not outcomes[0].result


@each_driver
def test_a_block_that_ignores_a_database_error_is_reported_as_rolled_back(
    cmp: Cmp, opened: Opened, client: GenesisClient, opening: str
) -> None:
    """The commit of a failed transaction rolls it back. Most drivers do not report that."""
    conn, run = opened

    def swallow() -> Propagation:
        with client.propagation(conn) as propagation:
            run(INSERT)
            with pytest.raises(Exception, match="division"):
                run("select 1 / 0")
        return propagation

    if opening == "pg8000":  # it raises at the commit
        with pytest.raises(Exception, match="failed transaction"):
            swallow()
    else:
        result = swallow().result
        assert (result["success"], result["verdict"]) == (False, "rolled_back")
    assert cmp.log() == []


@pytest.mark.parametrize("opening", every(2, [name for name in DRIVERS if name != "psycopg autocommit"]))
def test_a_block_with_its_own_commits_waits_for_everything_committed(
    cmp: Cmp, host: Host, opened: Opened, client: GenesisClient, opening: str
) -> None:
    """Regression: it answered `nothing_to_do` for the transaction at its begin, or for the one after."""
    del opening
    conn, run = opened
    with client.propagation(conn) as propagation:
        conn.commit()
        run(INSERT)
        conn.commit()

    assert propagation.token is propagation.result["token"] is None
    assert propagation.result["verdict"] == "no_consumer"
    assert len(cmp.log()) == 1
    del host


def test_a_block_with_its_own_rollback_is_reported_as_rolled_back(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    """Regression: a different transaction at the end was treated as a commit by the block."""
    host.daemon()
    conn, run = _psycopg(cmp)
    with client.propagation(conn) as propagation:
        run(INSERT)
        conn.rollback()
    conn.close()

    assert (propagation.result["success"], propagation.result["verdict"]) == (False, "rolled_back")


@each_driver
def test_a_failed_request_for_the_token_keeps_earlier_writes(
    cmp: Cmp, opened: Opened, client: GenesisClient, opening: str
) -> None:
    """The role may not execute the function that returns the transaction id.

    The transaction of the caller continues, and commits.
    """
    conn, run = opened
    role = f"no_ids_{os.getpid()}"
    cmp.conn.execute(f"create role {role}; grant all on projects to {role}")
    try:
        cmp.conn.execute("revoke execute on function pg_current_xact_id() from public")
        cmp.conn.execute("grant execute on function pg_current_xact_id() to omnicdc_owner")
        if opening == "psycopg autocommit":
            run("begin")
        run(INSERT)
        run(f"set local role {role}")
        with pytest.raises(Exception, match="permission denied for function pg_current_xact_id"):
            client.token(conn)
        if opening != "psycopg autocommit":
            with pytest.raises(Exception, match="permission denied"), client.propagation(conn):
                raise AssertionError("the block ran")
        run("insert into projects (name) values ('gemini')")
        conn.commit()
    finally:
        conn.rollback()
        cmp.conn.execute(f"drop owned by {role}; drop role {role}")

    assert len(cmp.log()) == 2


@pytest.mark.parametrize("opening", AUTOCOMMIT)
def test_autocommit_is_refused_before_anything_is_written(
    cmp: Cmp, client: GenesisClient, opening: str
) -> None:
    """Regression: it answered `success: True, nothing_to_do` while the file lacked the row."""
    conn, run = AUTOCOMMIT[opening](cmp)
    with pytest.raises(ConfigError, match="autocommit"), client.propagation(conn):
        run(INSERT)
    with pytest.raises(ConfigError, match="autocommit"):
        client.token(conn)
    run("insert into projects (name) values ('afterwards')")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        conn.close()

    assert len(cmp.log()) == 1


def test_unusable_connections_are_refused(cmp: Cmp, client: GenesisClient) -> None:
    """psycopg in autocommit mode, in a transaction of the caller and outside of any transaction.

    Objects that are not a connection are refused as well: None, a text, a cursor.
    """
    with cmp.connect() as conn:
        with (
            conn.transaction(),
            pytest.raises(ConfigError, match="your own code ends"),
            client.propagation(conn),
        ):
            conn.execute(INSERT)
        with pytest.raises(ConfigError, match="autocommit"):
            client.token(conn)
        for thing in (None, cmp.dsn, conn.cursor()):
            with pytest.raises(ConfigError, match="is not a database connection"):
                client.token(thing)

    assert cmp.log() == []


def test_an_asynchronous_connection_is_refused(cmp: Cmp, client: GenesisClient) -> None:
    async def request_token() -> None:
        async with await psycopg.AsyncConnection.connect(cmp.dsn) as conn:
            with pytest.raises(ConfigError, match="asynchronous"):
                client.token(conn)

    asyncio.run(request_token())


def test_a_failed_transaction_is_refused_and_can_be_rolled_back(cmp: Cmp, client: GenesisClient) -> None:
    with psycopg.connect(cmp.dsn) as conn:
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("select 1 / 0")
        with pytest.raises(ConfigError, match="has failed"), client.propagation(conn):
            conn.execute(INSERT)
        conn.rollback()
        with client.propagation(conn) as propagation:
            conn.execute(INSERT)

    assert propagation.result["token"] == propagation.token


def test_a_block_with_savepoints_has_the_token_of_its_transaction(cmp: Cmp, client: GenesisClient) -> None:
    """The savepoints are psycopg's nested transactions, and SQLAlchemy's begin_nested."""
    with psycopg.connect(cmp.dsn) as conn, client.propagation(conn) as plain:
        with conn.transaction():
            conn.execute(INSERT)
        with conn.transaction():
            conn.execute("insert into projects (name) values ('never')")
            undo()
    session, run = _session(cmp)
    with session, client.propagation(session) as nested, session.begin_nested():
        run("insert into projects (name) values ('gemini')")

    assert [plain.token, nested.token] == [
        row[0] for row in cmp.conn.execute("select xid::text from omnicdc.change order by xid").fetchall()
    ]


def test_a_prepared_transaction_is_waited_for_by_its_token(cmp: Cmp, client: GenesisClient) -> None:
    """With a two-phase commit, the transaction is open until COMMIT PREPARED."""
    with psycopg.connect(cmp.dsn) as conn:
        conn.tpc_begin(conn.xid(1, f"client-{cmp.conn.info.dbname}", "b"))
        conn.execute(INSERT)
        token = client.token(conn)
        conn.tpc_prepare()
        prepared = client.wait(token)
        conn.tpc_commit()

    assert prepared["verdict"] == "timeout"
    assert "still open" in prepared["detail"]
    assert client.wait(token)["verdict"] == "no_consumer"


@pytest.mark.parametrize("token", [True, 1.0, -1, 0, 1, 2, "", "x", "0762", b"1", ["1"], 2**32, 2**64])
def test_a_token_is_text_or_a_whole_number(
    cmp: Cmp,
    client: GenesisClient,
    token: Any,  # noqa: ANN401
) -> None:
    answer = client.wait(token)

    assert (answer["success"], answer["verdict"]) == (False, "unavailable")
    assert "is not a transaction" in str(answer["error"])
    with cmp.transaction() as (_conn, number):
        pass
    assert client.wait(int(number))["token"] == number
