"""Everything besides CMP's rows that the registries depend on: people's files, clones, heart, repositories.

`store.py` assembles `model.Inputs` of them. Only the URL key is at hand here, so that those who match
by it do not pay for the rest.
"""

from __future__ import annotations

from omnicdc.formats.urls import url_key

__all__ = ["url_key"]
