"""Changes many projects in CMP: planned and reviewed first, then written in one transaction, and verified."""

from omnicdc.clients.migration.client import MigrationClient
from omnicdc.clients.migration.plans import PlanAnswer
from omnicdc.clients.migration.reports import ApplyAnswer

__all__ = ["ApplyAnswer", "MigrationClient", "PlanAnswer"]
