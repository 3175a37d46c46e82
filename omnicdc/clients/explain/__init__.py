"""Explains one project: where it is, why, where each value comes from, and what is on its way."""

from omnicdc.clients.explain.answers import Explanation
from omnicdc.clients.explain.reading import explain

__all__ = ["Explanation", "explain"]
