"""A daemon that polls its files often, and precious files outside the root, which it may never touch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.host import Host, until
from support.numbered_updates import NumberedUpdates
from support.outside import Outside
from support.scene import Scene

from omnicdc.files.manifest import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """Precious files outside the root. Tests make links to them; each test ends with a look at them."""
    outside = Outside(tmp_path / "outside")
    yield outside
    try:
        outside.assert_untouched()
    finally:
        outside.close()


@pytest.fixture
def scene(cmp: Cmp, host: Host) -> Scene:
    """A host whose daemon serves and polls often."""
    host.env["OMNICDC_POLL_S"] = "0.05"
    updates = NumberedUpdates(cmp, host)
    scene = Scene(cmp, host, updates, host.daemon())
    until((host.root / MANIFEST).exists, "the manifest")
    return scene
