"""The inputs: everything besides CMP that the registries depend on.

These are people's files, clones, heart and repositories. `store.py` assembles `model.Inputs` of them. This
package itself exports only `url_key`, so that a module that needs only `url_key` imports nothing else.
"""

from __future__ import annotations

from omnicdc.formats.urls import url_key

__all__ = ["url_key"]
