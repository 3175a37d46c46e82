"""An operator's day, run as root inside `boot`: the commands of docs/install.md, then what befalls a service.

Prints one JSON object, a key for each scene; test_boot.py says what each should be. The machine around
is an overlay that is thrown away, so nothing is put back.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import yaml

from omnicdc.embedded import EmbeddedServer, bundled

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from support.cmp import TABLE, Cmp  # noqa: E402
from support.host import CANONICAL, PROJECT, REGISTRIES  # noqa: E402

PREFIX = Path("/opt/omnicdc")
CONFIGURATION = Path("/etc/omnicdc/omnicdc.yaml")
PASSWORD = Path("/etc/omnicdc/cmp_password")
ROOT = Path("/srv/infrastructure")
CMP = "host=cmp.example.org port=5433 dbname=cms_db user=postgres"
DROP_IN = Path("/etc/systemd/system/omnicdc.service.d/rehearsal.conf")

SECRET = "correct horse"
WATCHDOG_S = 3
DEADLINE_S = 20.0

Scene = dict[str, object]


def main() -> None:
    """Play every scene, also when one before it failed, and print what was seen."""
    server = EmbeddedServer(Path("/var/lib/cmp"), {"listen_addresses": "127.0.0.1"})
    seen: dict[str, Scene] = {"prepared": played(lambda: prepared(server))}
    with Cmp(CMP) as cmp:
        seen["installed"] = played(lambda: installed(cmp))
        seen["published"] = played(lambda: published(cmp))
        seen["confined"] = played(confined)
        seen["reloaded"] = played(lambda: reloaded(cmp))
        seen["killed"] = played(killed)
    seen["outage"] = played(lambda: outage(server))
    seen["stopped"] = played(stopped)
    seen["refused"] = played(refused)
    seen["journal"] = {"lines": said("journalctl", "--no-pager", "--output=cat").splitlines()[-200:]}
    json.dump(seen, sys.stdout, indent=2)


def played(scene: Callable[[], Scene]) -> Scene:
    """Play a scene; what goes wrong in it is what was seen."""
    try:
        return scene()
    except Exception:  # noqa: BLE001 - it is shown by the test, and the next scene may tell more
        return {"error": traceback.format_exc().splitlines()}


def prepared(server: EmbeddedServer) -> Scene:
    """Stand in for what surrounds the commands: CMP's server, its name, the machine's journal, `pip install`."""
    subprocess.run(["systemctl", "start", "systemd-journald.socket"], check=True)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write("127.0.0.1 cmp.example.org\n")
    server.port = 5433
    server.create()
    rules = server.directory / "data/pg_hba.conf"
    rules.write_text("host all registry_host all scram-sha-256\n" + rules.read_text())
    server.start()
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("create database cms_db")
    with psycopg.connect(CMP, autocommit=True) as owner:
        owner.execute(TABLE)
    pip_installed()
    return {}


def pip_installed() -> None:
    """Put in place what `pip install` would: the command, as this very interpreter, and the files for systemd."""
    own = {Path(sys.prefix), Path(sys.base_prefix), CHECKOUT}
    for directory in {above for path in own for above in (path, *path.parents)}:
        directory.chmod(directory.stat().st_mode | 0o011)
    command = PREFIX / "bin/omnicdc"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m omnicdc "$@"\n')
    command.chmod(0o755)
    for file, place in {
        "omnicdc.service": "lib/systemd/system/omnicdc.service",
        "omnicdc.sysusers.conf": "lib/sysusers.d/omnicdc.conf",
        "omnicdc.tmpfiles.conf": "lib/tmpfiles.d/omnicdc.conf",
    }.items():
        (PREFIX / place).parent.mkdir(parents=True)
        (PREFIX / place).write_bytes((CHECKOUT / "systemd" / file).read_bytes())
    # A checkout below /tmp would be out of the service's sight.
    drop_in(f"BindReadOnlyPaths={' '.join(map(str, own))}", f"WatchdogSec={WATCHDOG_S}s")


def installed(cmp: Cmp) -> Scene:
    """Type the commands of docs/install.md that come after `pip install`."""
    cmp.upsert("before omnicdc")
    commands = documented()
    environ = {**os.environ, "PATH": f"{bundled()}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    results = [
        subprocess.run(["bash", "-c", command], input=f"{SECRET}\n{SECRET}\n", env=environ, text=True,
                       capture_output=True, check=False, start_new_session=True)
        for command in commands[2:]
    ]  # fmt: skip
    return {
        "commands": commands,
        "statuses": [result.returncode for result in results],
        "talk": [result.stdout + result.stderr for result in results],
        "modes": {str(path): oct(path.stat().st_mode & 0o777) for path in (CONFIGURATION.parent, PASSWORD)},
        "canonical": (ROOT / CANONICAL).read_text(),
        **service(),
    }


def documented() -> list[str]:
    """Return the lines of the first block of commands in docs/install.md, without the numbers behind them."""
    block = re.search(r"```sh\n(.*?)```", (CHECKOUT / "docs/install.md").read_text("utf-8"), re.DOTALL)
    assert block
    return [re.sub(r"\s+# \d+$", "", line) for line in block[1].splitlines()]


def published(cmp: Cmp) -> Scene:
    """Write to CMP, wait, and look at the files."""
    project = cmp.upsert("garden", github_url="https://github.com/acme/garden")
    waited = omnicdc("wait", "--dsn", CMP, "--timeout", "10")
    files = [ROOT / path for path in REGISTRIES]
    return {
        "waited": waited.returncode,
        "verified": omnicdc("verify", project).returncode,
        "holding": [path.name for path in files if project in path.read_text()],
        "owners": [path.owner() for path in files],
        "modes": [oct(path.stat().st_mode & 0o777) for path in files],
    }


def confined() -> Scene:
    """Look at the daemon's process, and try what it could do where it lives."""
    pid = service()["MainPID"]
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    inside = ["nsenter", "--mount", f"--target={pid}"]
    return {
        **{key: status[key] for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
        "user": Path(f"/proc/{pid}").owner(),
        "writable": [
            path
            for path in ("/etc", str(ROOT), str(ROOT / "governance/registry"), "/var/lib/omnicdc", "/home")
            if subprocess.run([*inside, "touch", f"{path}/probe"], check=False, capture_output=True).returncode == 0
        ],
    }  # fmt: skip


def reloaded(cmp: Cmp) -> Scene:
    """Add a workspace that belongs to somebody else to the configuration, and reload."""
    clone = Path("/home/ann/work/garden")
    (clone / ".git").mkdir(parents=True)
    (clone / ".git/config").write_text('[remote "origin"]\n\turl = git@github.com:acme/garden.git\n')
    with CONFIGURATION.open("a") as configuration:
        configuration.write("workspaces: [/home/ann/work]\nrefresh_s: 500ms\npoll_s: 500ms\n")
    before = service()
    reload = subprocess.run(["systemctl", "reload", "omnicdc"], check=False)
    found = until(lambda: str(clone) in json.dumps(yaml.safe_load((ROOT / PROJECT).read_text())))
    cmp.upsert("after the reload")
    return {
        "status": reload.returncode,
        "found": found,
        "running": until(lambda: service()["SubState"] == "running"),
        "same_process": service()["MainPID"] == before["MainPID"],
        "waited": omnicdc("wait", "--dsn", CMP, "--timeout", "10").returncode,
    }


def killed() -> Scene:
    """Kill the daemon, as the kernel would when memory is short."""
    before, began = service(), time.monotonic()
    subprocess.run(["systemctl", "kill", "--signal=KILL", "omnicdc"], check=True)
    back = until(lambda: service()["MainPID"] not in ("0", before["MainPID"]) and active())
    return {"back": back, "seconds": time.monotonic() - began, **service()}


def outage(server: EmbeddedServer) -> Scene:
    """Take the server away for longer than the watchdog waits, then from a daemon that is just starting."""
    before = service()
    server.stop()
    time.sleep(WATCHDOG_S * 2)  # the length of the outage is what is tried
    during = service()
    server.start()
    with Cmp(CMP) as cmp:
        project = cmp.upsert("after the outage")
        endured = until(lambda: project in (ROOT / CANONICAL).read_text())
        after = service()
        server.stop()
        subprocess.run(["systemctl", "restart", "--no-block", "omnicdc"], check=True)
        time.sleep(WATCHDOG_S * 2)
        starting = service()
    server.start()
    with Cmp(CMP) as cmp:
        project = cmp.upsert("after the second outage")
        started = until(lambda: active() and project in (ROOT / CANONICAL).read_text())
    return {
        "during": during,
        "endured": endured,
        "same_process": before["MainPID"] == during["MainPID"] == after["MainPID"],
        "starting": starting,
        "started": started,
        "after": service(),
    }


def stopped() -> Scene:
    """Stop the service."""
    began = time.monotonic()
    subprocess.run(["systemctl", "stop", "omnicdc"], check=True)
    return {"seconds": time.monotonic() - began, **service()}


def refused() -> Scene:
    """Start with a wrong password, then without the file, then with the right one."""
    PASSWORD.write_text("wrong\n")
    scene: Scene = {"wrong": started()}
    PASSWORD.unlink()
    scene["missing"] = started()
    PASSWORD.write_text(SECRET)
    scene["mended"] = started()
    return scene


def started() -> Scene:
    """Start the service, and leave it a moment to be started again by mistake."""
    began = said("date", "+%s")
    result = subprocess.run(["systemctl", "start", "omnicdc"], check=False, capture_output=True, text=True)
    time.sleep(1.5)
    lines = said("journalctl", "--unit=omnicdc", f"--since=@{began}", "--output=cat", "--no-pager").splitlines()
    return {"status": result.returncode, "said": lines, **service()}


def service() -> dict[str, str]:
    """Return what systemd knows of the service."""
    wanted = "ActiveState,SubState,Result,MainPID,NRestarts,ExecMainStatus,StatusText,UnitFileState"
    lines = said("systemctl", "show", "omnicdc", f"--property={wanted}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def active() -> bool:
    return service()["ActiveState"] == "active"


def omnicdc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as root, as docs/install.md says how."""
    given = {"OMNICDC_CONFIG": str(CONFIGURATION), "OMNICDC_PASSWORD_FILE": str(PASSWORD)}
    return subprocess.run([PREFIX / "bin/omnicdc", *arguments], env=os.environ | given, text=True,
                          capture_output=True, check=False)  # fmt: skip


def until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds; returns whether it ever did."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if condition():
                return True
        time.sleep(0.05)
    return False


def drop_in(*lines: str) -> None:
    """Change the unit as an operator would."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text("\n".join(("[Service]", *lines, "")))


def said(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
