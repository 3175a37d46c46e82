"""An operator's day, run as root inside `boot`: the commands of docs/install.md, then what befalls a service.

Prints one JSON object, a key for each scene; test_boot.py says what each should be. The machine around
is an overlay that is thrown away, so nothing is put back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from support.cmp import Cmp
from support.host import CANONICAL, PROJECT, REGISTRIES

from omnicdc.demo.embedded import EmbeddedServer, bundled
from systemd.page import block, commands
from systemd.stage import CMP, PREFIX, active, drop_in, prepare, said, service, until

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGURATION = Path("/etc/omnicdc/omnicdc.yaml")
PASSWORD = Path("/etc/omnicdc/cmp_password")
ROOT = Path("/srv/infrastructure")

SECRET = "correct horse"
OUTAGE_S = 1.5

WATCHDOG = """[Service]
WatchdogSec=2s
# By the unit's own rules: memory that can be written to and run.
ExecStartPre={python} /opt/omnicdc/probe.py
"""
PROBE = """import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("memory that can be written to and run: refused")
"""

Scene = dict[str, object]


def main(*, whole: bool) -> None:
    """Play the scenes, also when one before it failed, and print what was seen.

    The whole day, or what every run plays.
    """
    server = EmbeddedServer(Path("/var/lib/cmp"), {"listen_addresses": "127.0.0.1"})
    prepare(server)
    seen: dict[str, Scene] = {}
    with Cmp(CMP) as cmp:
        seen["installed"] = played(lambda: installed(cmp))
        seen["published"] = played(lambda: published(cmp))
        seen["confined"] = played(confined)
        seen["reloaded"] = played(lambda: reloaded(cmp))
        seen["killed"] = played(lambda: killed(cmp))
        if whole:
            seen["hung"] = played(lambda: hung(cmp))
    if whole:
        seen["outage"] = played(lambda: outage(server))
    seen["stopped"] = played(stopped)
    if whole:
        seen["refused"] = played(refused)
        seen["moved"] = played(moved)
    journal = said("journalctl", "--no-pager", "--output=cat")
    seen["journal"] = {"lines": journal.splitlines()[-200:], "password": SECRET in journal}
    json.dump(seen, sys.stdout, indent=2)


def played(scene: Callable[[], Scene]) -> Scene:
    """Play a scene; what goes wrong in it is what was seen."""
    try:
        return scene()
    except Exception:  # noqa: BLE001 - it is shown by the test, and the next scene may tell more
        return {"error": traceback.format_exc().splitlines()}


def installed(cmp: Cmp) -> Scene:
    """Type the commands of docs/install.md that come after `pip install`.

    See that the command is on the PATH.
    """
    cmp.upsert("before omnicdc")
    after_pip = commands()[1].partition(" && ")[2]
    typed = [after_pip, *commands()[2:], "omnicdc --version"]
    environ = {**os.environ, "PATH": f"{bundled()}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    results = [
        subprocess.run(["bash", "-c", command], input=f"{SECRET}\n" * 2, env=environ, text=True,
                       capture_output=True, check=False, start_new_session=True)
        for command in typed
    ]  # fmt: skip
    return {
        "statuses": [result.returncode for result in results],
        "talk": [result.stdout + result.stderr for result in results],
        "modes": {str(path): oct(path.stat().st_mode & 0o777) for path in (CONFIGURATION.parent, PASSWORD)},
        "canonical": (ROOT / CANONICAL).read_text(),
        **service(),
    }


def published(cmp: Cmp) -> Scene:
    """Write to CMP, wait, and look at the files."""
    project = cmp.upsert("garden", github_url="https://github.com/acme/garden")
    waited = omnicdc("wait", "--timeout", "60")
    files = [ROOT / path for path in REGISTRIES]
    return {
        "waited": waited.returncode,
        "verdict": waited.stdout + waited.stderr,
        "healthy": omnicdc("status").returncode == 0,
        "holding": [path.name for path in files if project in path.read_text()],
        "owners": [path.owner() for path in files],
        "modes": [oct(path.stat().st_mode & 0o777) for path in files],
    }


def confined() -> Scene:
    """Look at the daemon's process, and try what it could do where it lives."""
    pid = service()["MainPID"]
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    inside = ["nsenter", "--mount", f"--target={pid}"]
    process = Path(f"/proc/{pid}")
    return {
        **{key: status[key] for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
        "user": process.owner(),
        "password_shown": SECRET in (process / "environ").read_text() + (process / "cmdline").read_text(),
        "in_force": said("systemctl", "show", "omnicdc").splitlines(),
        "writable": [
            path
            for path in ("/etc", str(ROOT), str(ROOT / "governance/registry"), "/var/lib/omnicdc", "/home")
            if not subprocess.run(
                [*inside, "touch", f"{path}/probe"], check=False, capture_output=True
            ).returncode
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
        "waited": omnicdc("wait", "--timeout", "60").returncode,
    }


def killed(cmp: Cmp) -> Scene:
    """Give a registry to a group that the user joins, and kill the daemon.

    The kernel would do so when memory is short.
    """
    canonical = ROOT / CANONICAL
    for command in ("groupadd people", "usermod -aG people omnicdc", f"chgrp people {canonical}"):
        subprocess.run(command.split(), check=True)
    canonical.chmod(0o660)
    before, began = service(), time.monotonic()
    subprocess.run(["systemctl", "kill", "--signal=KILL", "omnicdc"], check=True)
    back = until(lambda: service()["MainPID"] not in ("0", before["MainPID"]) and active())
    seconds = time.monotonic() - began
    rewritten = until(lambda: arrived(cmp, "after the kill"))
    return {
        "back": back,
        "seconds": seconds,
        "rewritten": rewritten,
        "group": canonical.group(),
        "mode": oct(canonical.stat().st_mode & 0o777),
        **service(),
    }


def hung(cmp: Cmp) -> Scene:
    """Stop the daemon's process in its tracks, so that it says nothing any more.

    Its watchdog bites soon.
    """
    (PREFIX / "probe.py").write_text(PROBE)
    watchdog = drop_in("watchdog", WATCHDOG.format(python=sys.executable))
    subprocess.run(["systemctl", "restart", "omnicdc"], check=True)
    before, began = service(), time.monotonic()
    os.kill(int(before["MainPID"]), signal.SIGSTOP)
    cmp.upsert("while it hung")
    back = until(lambda: service()["MainPID"] not in ("0", before["MainPID"]) and active())
    seconds = time.monotonic() - began
    caught_up = until(lambda: arrived(cmp, "while it hung") and arrived(cmp, "after the hang"))
    after, lines = service(), said("journalctl", "--no-pager", "--output=cat", "--since=-20s")
    watchdog.unlink()
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "restart", "omnicdc"], check=True)
    return {"back": back, "seconds": seconds, "caught_up": caught_up, "said": lines, **after}


def watchdog_fed() -> int:
    """Return when the daemon last fed the watchdog, in microseconds."""
    return int(service()["WatchdogTimestampMonotonic"])


def outage(server: EmbeddedServer) -> Scene:
    """Take the server away from a daemon that serves, then from one that starts."""
    before = service()
    server.stop()
    time.sleep(OUTAGE_S)  # the length of the outage is what is tried
    fed = until(lambda: watchdog_fed() > int(before["WatchdogTimestampMonotonic"]))
    during = service()
    server.start()
    with Cmp(CMP) as cmp:
        endured = until(lambda: arrived(cmp, "after the outage"))
    after = service()
    server.stop()
    subprocess.run(["systemctl", "restart", "--no-block", "omnicdc"], check=True)
    time.sleep(OUTAGE_S)  # as above
    starting = service()
    server.start()
    with Cmp(CMP) as cmp:
        started = until(lambda: active() and arrived(cmp, "after the second outage"))
    return {
        "watchdog_fed": fed,
        "endured": endured,
        "same_process": before["MainPID"] == during["MainPID"] == after["MainPID"],
        "starting": starting,
        "started": started,
        **service(),
    }


def arrived(cmp: Cmp, name: str) -> bool:
    """Whether a project of this name, made here the first time, is in the canonical registry."""
    if not cmp.value("select exists (select from projects where name = %s)", name):
        cmp.upsert(name)
    return name in (ROOT / CANONICAL).read_text()


def stopped() -> Scene:
    """Stop the service."""
    began = time.monotonic()
    subprocess.run(["systemctl", "stop", "omnicdc"], check=True)
    return {"seconds": time.monotonic() - began, **service()}


def refused() -> Scene:
    """Start with a wrong password, then without the file, then with the right one."""
    PASSWORD.write_text("wrong")
    scene: Scene = {"wrong": started()}
    PASSWORD.unlink()
    scene["missing"] = started()
    PASSWORD.write_text(SECRET)
    scene["mended"] = started()
    return scene


def moved() -> Scene:
    """Give the service another root, without and with the documented drop-in."""
    elsewhere = Path("/data/infrastructure")
    subprocess.run(["bash", "-c", commands()[8].replace(str(ROOT), str(elsewhere))], check=True)
    CONFIGURATION.write_text(CONFIGURATION.read_text().replace(str(ROOT), str(elsewhere)))
    subprocess.run(["systemctl", "stop", "omnicdc"], check=True)
    closed = started()
    drop_in("root", block("ini", "RequiresMountsFor"))
    return {"closed": closed, "opened": started(), "there": (elsewhere / CANONICAL).exists()}


def started() -> Scene:
    """Start the service; were it to be started again by itself, its state would not be `failed`."""
    result = subprocess.run(["systemctl", "start", "omnicdc"], check=False, capture_output=True)
    state = service()
    lines = said(
        "journalctl", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={state['InvocationID']}"
    )
    return {"status": result.returncode, "said": lines.splitlines(), **state}


def omnicdc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as root, as docs/install.md says how."""
    given = {"OMNICDC_CONFIG": str(CONFIGURATION), "OMNICDC_PASSWORD_FILE": str(PASSWORD)}
    return subprocess.run([PREFIX / "bin/omnicdc", *arguments], env=os.environ | given, text=True,
                          capture_output=True, check=False)  # fmt: skip


if __name__ == "__main__":
    main(whole="--whole" in sys.argv)
