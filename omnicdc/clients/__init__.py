"""For programs that write to CMP: wait until a write has arrived in every registry, and verify it.

Never imports pglast, nor anything that does.
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
