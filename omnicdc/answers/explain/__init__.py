"""Explains one project: where it is, why, where each value comes from, and what is on its way."""

from omnicdc.answers.explain.answers import Explanation
from omnicdc.answers.explain.reading import explain

__all__ = ["Explanation", "explain"]
