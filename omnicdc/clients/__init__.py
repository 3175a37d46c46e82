"""The clients for programs that write to CMP. They wait until a write is in every registry, and verify it.

Importing this package imports neither pglast nor ruamel.yaml. A client is imported when its name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omnicdc.answers.explain import Explanation
    from omnicdc.clients.aio import AsyncGenesisClient
    from omnicdc.clients.answers import BatchAnswer, ProjectAnswer, RebuildAnswer, VerifyAnswer, WaitAnswer
    from omnicdc.clients.archive import ArchiveAnswer, ArchiveClient
    from omnicdc.clients.genesis import GenesisClient
    from omnicdc.clients.migration import ApplyAnswer, MigrationClient, PlanAnswer
    from omnicdc.clients.propagation import Propagation
    from omnicdc.clients.validation import Finding, ValidationAnswer, ValidationClient

_WHERE = {
    "ApplyAnswer": "migration",
    "ArchiveAnswer": "archive",
    "ArchiveClient": "archive",
    "AsyncGenesisClient": "aio",
    "BatchAnswer": "answers",
    "Explanation": "explain",
    "Finding": "validation",
    "GenesisClient": "genesis",
    "MigrationClient": "migration",
    "PlanAnswer": "migration",
    "ProjectAnswer": "answers",
    "Propagation": "propagation",
    "RebuildAnswer": "answers",
    "ValidationAnswer": "validation",
    "ValidationClient": "validation",
    "VerifyAnswer": "answers",
    "WaitAnswer": "answers",
}
"""Public name to its module."""

__all__ = [
    "ApplyAnswer",
    "ArchiveAnswer",
    "ArchiveClient",
    "AsyncGenesisClient",
    "BatchAnswer",
    "Explanation",
    "Finding",
    "GenesisClient",
    "MigrationClient",
    "PlanAnswer",
    "ProjectAnswer",
    "Propagation",
    "RebuildAnswer",
    "ValidationAnswer",
    "ValidationClient",
    "VerifyAnswer",
    "WaitAnswer",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is used first, so that a program pays only for its own client."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
