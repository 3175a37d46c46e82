"""A web service that creates projects in CMP, and answers when the registry files show them.

DATABASE_URL is SQLAlchemy's URL of CMP, `postgresql+psycopg://…`. The client reads omnicdc's own settings
(OMNICDC_DSN, OMNICDC_ROOT). PUBLISH_TIMEOUT_S is how long a request waits, in seconds; the default is 5.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, status
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from omnicdc.clients import AsyncGenesisClient, WaitAnswer

INSERT = text(
    "insert into projects (id, name, type, status, metadata_)"
    " values (:id, :name, :type, 'active', cast(:metadata as jsonb))"
)


class NewProject(BaseModel):
    """What a request must say about a project."""

    name: str
    type: str = "PROJECT"
    domain: str | None = None
    github_url: str | None = None


class Publication(BaseModel):
    """Where a transaction is visible, or why it is not visible yet."""

    token: str | None
    verdict: str | None
    registries: list[str]
    detail: str


class Created(Publication):
    """A project that is in CMP."""

    uuid: UUID


class Verified(BaseModel):
    """Whether the registry files of this host are correct about a project."""

    verified: bool
    missing_from: list[str]
    detail: str


class State(TypedDict):
    """What the requests share."""

    client: AsyncGenesisClient
    sessions: async_sessionmaker[AsyncSession]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[State, None]:
    """Open the client and the pool when the service starts, and close them when it ends."""
    engine = create_async_engine(os.environ["DATABASE_URL"])
    timeout = float(os.environ.get("PUBLISH_TIMEOUT_S", "5"))
    async with AsyncGenesisClient(timeout=timeout) as client:
        yield {"client": client, "sessions": async_sessionmaker(engine)}
    await engine.dispose()


def client_of(request: Request) -> AsyncGenesisClient:
    """Return the client of this service."""
    client: AsyncGenesisClient = request.state.client
    return client


async def session_of(request: Request) -> AsyncGenerator[AsyncSession, None]:
    """Give a session for one request."""
    async with request.state.sessions() as session:
        yield session


Client = Annotated[AsyncGenesisClient, Depends(client_of)]
Session = Annotated[AsyncSession, Depends(session_of)]

app = FastAPI(title="Projects", lifespan=lifespan)


@app.post("/projects", status_code=status.HTTP_201_CREATED)
async def create_project(new: NewProject, client: Client, session: Session, response: Response) -> Created:
    """Create a project. 201: the registries show it. 202: it is in CMP, but not in the registries yet."""
    uuid = uuid4()
    metadata = {"domain": new.domain, "github_url": new.github_url}
    async with client.propagation(session) as p:
        values = {"id": uuid, "name": new.name, "type": new.type, "metadata": json.dumps(metadata)}
        await session.execute(INSERT, values)
    # The transaction was committed, and its connection is back in the pool: a wait holds none.
    if p.result["verdict"] == "rolled_back":
        raise HTTPException(status.HTTP_409_CONFLICT, p.result["detail"])
    if p.result["success"]:
        response.headers["Location"] = f"/projects/{uuid}"
    else:
        response.status_code = status.HTTP_202_ACCEPTED
        response.headers["Location"] = f"/publications/{p.result['token']}"
    return Created(uuid=uuid, **publication(p.result).model_dump())


@app.get("/publications/{token}")
async def wait_for_publication(
    token: str, client: Client, response: Response, timeout: Annotated[float, Query(ge=0, le=60)] = 5.0
) -> Publication:
    """Wait until the registries show a transaction. 200: they do. 202: not yet."""
    answer = await client.wait(token, timeout)
    if not answer["success"]:
        response.status_code = status.HTTP_202_ACCEPTED
    return publication(answer)


@app.get("/projects/{uuid}")
async def verify_project(uuid: UUID, client: Client) -> Verified:
    """Compare the registry files of this host with CMP. 404: CMP has no such project."""
    answer = await client.verify_propagation(uuid)
    if answer["in_cmp"] is False:
        raise HTTPException(status.HTTP_404_NOT_FOUND, answer["detail"] or "not in CMP")
    return Verified(verified=answer["verified"], missing_from=answer["missing_from"], detail=answer["detail"])


def publication(answer: WaitAnswer) -> Publication:
    """Return what a caller of this service needs of an answer."""
    return Publication(
        token=answer["token"],
        verdict=answer["verdict"],
        registries=answer["registries_updated"],
        detail=answer["detail"] if answer["success"] else f"{answer['detail']} {answer['hint']}".strip(),
    )
