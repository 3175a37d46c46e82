"""Adds the man pages and the completion of shells to the wheel. They are made from the commands' own help."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SharedData(BuildHookInterface[Any]):
    """Hatchling finds this class by its base."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files, and have them installed below the prefix. An editable installation has none."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from omnicdc.cli import completion, manual, omnicdc  # noqa: PLC0415 - found in the checkout only now

        self._directory = Path(tempfile.mkdtemp(prefix="omnicdc-build-"))
        now = os.environ.get("SOURCE_DATE_EPOCH") or time.time()
        day = datetime.fromtimestamp(float(now), UTC).date()
        made = manual.pages(omnicdc, self.metadata.version, day) | completion.scripts()
        for number, (place, text) in enumerate(made.items()):
            file = self._directory / str(number)
            file.write_text(text, "utf-8")
            build_data["shared_data"][str(file)] = place

    def finalize(self, version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        """Remove the files again."""
        if version != "editable":
            shutil.rmtree(self._directory)
