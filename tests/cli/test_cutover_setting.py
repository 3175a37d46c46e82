"""The configuration file, as switch and back-out change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnicdc.cli.cutover import setting
from omnicdc.config.config import Config
from omnicdc.config.default_file import ConfigFile
from omnicdc.errors import ConfigError

FILE = Path("/etc/omnicdc/omnicdc.yaml")
UNREAD = f"user alice cannot read {FILE} (Permission denied)"


@pytest.mark.parametrize(
    ("file", "refusal"),
    [
        (ConfigFile(is_default=True, unread=UNREAD), f"{UNREAD} - `sudo omnicdc cutover switch`"),
        (ConfigFile(), "the setting `shadow` must be in a configuration file - --config FILE"),
    ],
)
def test_without_a_configuration_file_the_cause_is_named(file: ConfigFile, refusal: str) -> None:
    with pytest.raises(ConfigError) as refused:
        setting.file_of(Config(file=file), "omnicdc cutover switch")

    assert str(refused.value) == refusal
