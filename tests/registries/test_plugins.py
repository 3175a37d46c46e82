"""Plug-ins: a package brings a registry. One that cannot be loaded is reported, and holds nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import Host

if TYPE_CHECKING:
    from support.cmp import Cmp

EXAMPLE = Path(__file__).parents[2] / "docs/example-plugin"

BROKEN = {
    "raises": "raise RuntimeError('no luck')",
    "is no scanner": "Broken = 3",
    "writes": """
from omnicdc_domains import Domains
class Broken(Domains):
    query = "delete from projects"
""",
    "has the name of another": "from omnicdc_domains import Domains as Broken",
    "groups": """
from omnicdc_domains import Domains
class Broken(Domains):
    name, path, grouped = "broken", "broken.json", True
""",
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with omnicdc, as it is installed here, and with the example."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, symlinks=True)
    python = place / "bin/python"
    packages = next(place.glob("lib/python*/site-packages"))
    (packages / "omnicdc.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*install, "--no-build-isolation", str(EXAMPLE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def plugged(cmp: Cmp, tmp_path: Path, fresh: Path) -> Host:
    """A host whose command is that of the new environment."""
    host = Host(tmp_path / "host", cmp.dsn)
    host.env["PATH"] = f"{fresh / 'bin'}:{host.env['PATH']}"
    return host


def run(host: Host, fresh: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [fresh / "bin/python", "-m", "omnicdc", *arguments],
        env=host.env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def package(place: Path, code: str) -> None:
    """Write an installed package whose plug-in is called Broken."""
    metadata = place / "broken-1.0.dist-info"
    metadata.mkdir(parents=True)
    (place / "broken_plugin.py").write_text(code)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[omnicdc.scanners]\nbroken = broken_plugin:Broken\n")


def test_the_example_is_installed_and_its_registry_is_published(cmp: Cmp, plugged: Host, fresh: Path) -> None:
    installed = run(plugged, fresh, "install", "--json")
    apollo = cmp.upsert("apollo", domain="space.moon")
    cmp.upsert("hermes")
    once = run(plugged, fresh, "run", "--once", "--json")
    verified = run(plugged, fresh, "verify", apollo, "--json")

    assert installed.returncode == 0, installed.stderr
    assert once.returncode == 0, once.stderr
    read = json.loads((plugged.root / "governance/registry/domains.json").read_bytes())
    assert read == {"count": 1, "domains": {apollo: {"name": "apollo", "area": "space"}}}
    assert json.loads(verified.stdout)["checks"]["in_domains"] is True


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plug_in_that_cannot_be_used_is_reported_and_holds_only_itself(
    cmp: Cmp, plugged: Host, fresh: Path, tmp_path: Path, kind: str
) -> None:
    package(tmp_path / "packages", BROKEN[kind])
    plugged.env["PYTHONPATH"] = str(tmp_path / "packages")
    run(plugged, fresh, "install")
    cmp.upsert("apollo", domain="space")
    once = run(plugged, fresh, "run", "--once", "--json")
    status = json.loads(run(plugged, fresh, "status", "--json").stdout)

    assert once.returncode == 0, once.stderr
    assert (plugged.root / "governance/registry/domains.json").exists()
    [fault] = [fault for fault in status["faults"] if "plug-in" in fault]
    assert re.fullmatch(r"host: plug-in .* of .* cannot be used: .* - repair or uninstall it", fault)


@pytest.mark.parametrize("entry", ["None, b''", "('a', 1), b'x'", "('a', 'b'), 'text'", "('a', 'b'), b'{}'"])
def test_what_a_plug_in_renders_wrongly_is_quarantined(
    cmp: Cmp, plugged: Host, fresh: Path, tmp_path: Path, entry: str
) -> None:
    package(
        tmp_path / "packages",
        "from omnicdc.model import Entry\n"
        "from omnicdc_domains import Domains\n"
        "class Broken(Domains):\n"
        "    name, path = 'wrong', 'governance/wrong.json'\n"
        f"    def render(self, entry_key, rows, inputs): return Entry({entry})\n",
    )
    plugged.env["PYTHONPATH"] = str(tmp_path / "packages")
    run(plugged, fresh, "install")
    cmp.upsert("apollo", domain="space")
    once = run(plugged, fresh, "run", "--once", "--json")
    status = json.loads(run(plugged, fresh, "status", "--json").stdout)

    assert once.returncode == 0, once.stderr
    assert json.loads((plugged.root / "governance/wrong.json").read_bytes())["domains"] == {}
    assert [*status["consumers"][0]["quarantined"]] == ["wrong.json"]
