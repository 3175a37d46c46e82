"""The check for changes outside the root names the file, the change and the process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.outside import Outside

if TYPE_CHECKING:
    from pathlib import Path


def test_a_change_is_reported_with_its_file_and_process(tmp_path: Path) -> None:
    outside = Outside(tmp_path / "outside")
    outside.assert_untouched()
    outside.file.chmod(0o777)

    with pytest.raises(AssertionError) as caught:
        outside.assert_untouched()

    outside.close()
    assert f"{outside.file}: ('mode 100" in str(caught.value)
    assert "'mode 100777'" in str(caught.value)
    if os.geteuid() == 0:
        assert f"file: attributes changed by process {os.getpid()} (this test)" in str(caught.value)
