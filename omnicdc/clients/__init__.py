"""The client for programs that write to CMP: it waits until a write is in every registry, and verifies it.

Importing this package imports neither pglast nor ruamel.yaml. Only where the configuration declares
registries, a client imports pglast later.
"""

from omnicdc.clients.answers import BatchAnswer, ProjectAnswer, RebuildAnswer, VerifyAnswer, WaitAnswer
from omnicdc.clients.genesis import GenesisClient
from omnicdc.clients.propagation import Propagation

__all__ = [
    "BatchAnswer",
    "GenesisClient",
    "ProjectAnswer",
    "Propagation",
    "RebuildAnswer",
    "VerifyAnswer",
    "WaitAnswer",
]
