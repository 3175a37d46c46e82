"""For programs that write to CMP: wait until a write has arrived in every registry, and verify it.

Never imports pglast, nor anything that does.
"""

from omnicdc.clients.genesis import GenesisClient, Propagation

__all__ = ["GenesisClient", "Propagation"]
