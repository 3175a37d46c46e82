"""Checks whether CMP, the registries and the files of a host agree."""

from omnicdc.clients.validation.client import ValidationAnswer, ValidationClient
from omnicdc.clients.validation.findings import KINDS, Finding

__all__ = ["KINDS", "Finding", "ValidationAnswer", "ValidationClient"]
