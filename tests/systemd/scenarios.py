"""Scenarios of a service, run as root inside `boot`: the installation of docs/install.md, then its faults.

Prints one JSON object with a key for each scenario; test_boot.py checks the results. The machine is an
overlay that is thrown away, so no scenario has to undo its changes.
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
from typing import TYPE_CHECKING, Any

import yaml
from support.cmp import Cmp
from support.host import CANONICAL, PROJECT, REGISTRIES

from omnicdc.log.journal import MESSAGE_IDS
from omnicdc.testing.embedded import EmbeddedServer, bundled
from systemd.machine import CMP, PREFIX, drop_in, is_active, output_of, prepare, service, until
from systemd.page import block, commands

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGURATION = Path("/etc/omnicdc/omnicdc.yaml")
PASSWORD = Path("/etc/omnicdc/cmp_password")
ROOT = Path("/srv/infrastructure")

SECRET = "correct horse"
OUTAGE_S = 1.5

WATCHDOG = """[Service]
WatchdogSec=2s
# Runs under the unit's own rules, and asks for memory that is writable and executable.
ExecStartPre={python} /opt/omnicdc/probe.py
"""
PROBE = """import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("writable and executable memory: refused")
"""

Result = dict[str, Any]


def main(*, whole: bool) -> None:
    """Run the scenarios, each also after a failure of an earlier one, and print their results.

    `whole` adds the scenarios that only a campaign runs.
    """
    server = EmbeddedServer(Path("/var/lib/cmp"), {"listen_addresses": "127.0.0.1"})
    prepare(server)
    results: dict[str, Result] = {}
    with Cmp(CMP) as cmp:
        results["installed"] = result_of(lambda: install(cmp))
        results["published"] = result_of(lambda: publish(cmp))
        results["examined"] = result_of(examine)
        results["confined"] = result_of(inspect_process)
        results["reloaded"] = result_of(lambda: reload(cmp))
        results["edited"] = result_of(edit)
        results["watched"] = result_of(lambda: watch_registry(cmp))
        results["killed"] = result_of(lambda: kill(cmp))
        if whole:
            results["hung"] = result_of(lambda: hang(cmp))
    if whole:
        results["outage"] = result_of(lambda: stop_database(server))
    results["stopped"] = result_of(stop)
    results["examined when stopped"] = result_of(lambda: {"root": doctor()})
    if whole:
        results["refused"] = result_of(change_password)
        results["moved"] = result_of(move_root)
    journal = output_of("journalctl", "--no-pager", "--output=cat")
    results["journal"] = {"lines": journal.splitlines()[-200:], "password": SECRET in journal}
    json.dump(results, sys.stdout, indent=2)


def result_of(scenario: Callable[[], Result]) -> Result:
    """Run a scenario and return its result. An exception is a result as well."""
    try:
        return scenario()
    except Exception:  # noqa: BLE001 - the test shows it, and the next scenario still runs
        return {"error": traceback.format_exc().splitlines()}


def install(cmp: Cmp) -> Result:
    """Run the commands of docs/install.md that follow `pip install`.

    The last one shows that `omnicdc` is on the PATH.
    """
    cmp.upsert("before omnicdc")
    after_pip = commands()[1].partition(" && ")[2]
    typed_commands = [after_pip, *commands()[2:], "omnicdc --version"]
    environ = {**os.environ, "PATH": f"{bundled()}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    done = [
        subprocess.run(["bash", "-c", command], input=f"{SECRET}\n" * 2, env=environ, text=True,
                       capture_output=True, check=False, start_new_session=True)
        for command in typed_commands
    ]  # fmt: skip
    return {
        "statuses": [one.returncode for one in done],
        "output": [one.stdout + one.stderr for one in done],
        "modes": {str(path): oct(path.stat().st_mode & 0o777) for path in (CONFIGURATION.parent, PASSWORD)},
        "canonical": (ROOT / CANONICAL).read_text(),
        **service(),
    }


def examine() -> Result:
    """Run `omnicdc doctor` as root, as the service's user, and after the unit was changed on disk."""
    found: Result = {"root": doctor(), "service": doctor("runuser", "-u", "omnicdc", "--")}
    file = drop_in("unread", "[Service]\nReadWritePaths=\n")
    found["closed"] = doctor()
    file.unlink()
    found["changed"] = doctor()
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    return found


def doctor(*as_user: str) -> Result:
    """Return check to status and what was seen, for what is not ok, without a password of its own."""
    environ = {**os.environ, "OMNICDC_CONFIG": str(CONFIGURATION), "OMNICDC_GH": "no"}
    command = [*as_user, "omnicdc", "doctor", "-o", "json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if not done.stdout:
        return {"error": done.stderr}
    answer = json.loads(done.stdout)
    return {
        f"{it['group']}: {it['check']}": [it["status"], it["seen"], it["remedy"]] for it in answer["checks"]
    }


READER = """[Service]
ExecStart=sleep infinity
ExecReload=touch /run/reader-reloaded
"""


def watch_registry(cmp: Cmp) -> Result:
    """Reload another service when a registry is replaced, as docs/add-a-registry.md describes it."""
    units = Path("/etc/systemd/system")
    (units / "reader.service").write_text(READER)
    (units / "omnicdc-reload@reader.path.d").mkdir()
    (units / "omnicdc-reload@reader.path.d/file.conf").write_text(f"[Path]\nPathChanged={ROOT / CANONICAL}\n")
    for name in ("omnicdc-reload@.path", "omnicdc-reload@.service"):
        output_of("systemctl", "link", str(PREFIX / "lib/systemd/system" / name))
    output_of("systemctl", "daemon-reload")
    output_of("systemctl", "start", "reader.service")
    output_of("systemctl", "enable", "--now", "omnicdc-reload@reader.path")
    before = Path("/run/reader-reloaded").exists()
    cmp.upsert("for the reader")
    return {"before": before, "reloaded": until(Path("/run/reader-reloaded").exists)}


def publish(cmp: Cmp) -> Result:
    """Write to CMP, wait, and read the files."""
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


def inspect_process() -> Result:
    """Read the daemon's process in /proc, and try to write in its mount namespace."""
    pid = service()["MainPID"]
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    inside = ["nsenter", "--mount", f"--target={pid}"]
    process = Path(f"/proc/{pid}")
    return {
        **{key: status[key] for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
        "user": process.owner(),
        "password_shown": SECRET in (process / "environ").read_text() + (process / "cmdline").read_text(),
        "in_force": output_of("systemctl", "show", "omnicdc").splitlines(),
        "writable": [
            path
            for path in ("/etc", str(ROOT), str(ROOT / "governance/registry"), "/var/lib/omnicdc", "/home")
            if not subprocess.run(
                [*inside, "touch", f"{path}/probe"], check=False, capture_output=True
            ).returncode
        ],
    }  # fmt: skip


def reload(cmp: Cmp) -> Result:
    """Add a workspace of another user to the configuration, and reload."""
    clone = Path("/home/ann/work/garden")
    (clone / ".git").mkdir(parents=True)
    (clone / ".git/config").write_text('[remote "origin"]\n\turl = git@github.com:acme/garden.git\n')
    with CONFIGURATION.open("a") as configuration:
        configuration.write("workspaces: [/home/ann/work]\nrefresh_s: 500ms\npoll_s: 500ms\n")
    before = service()
    reloaded = subprocess.run(["systemctl", "reload", "omnicdc"], check=False)
    found = until(lambda: str(clone) in json.dumps(yaml.safe_load((ROOT / PROJECT).read_text())))
    cmp.upsert("after the reload")
    valid = CONFIGURATION.read_text()
    CONFIGURATION.write_text(f"{valid}pol_s: 1\n")
    refused = subprocess.run(["systemctl", "reload", "omnicdc"], check=False)
    CONFIGURATION.write_text(valid)
    return {
        "status": reloaded.returncode,
        "refused": refused.returncode,
        "shown": service()["StatusText"],
        "found": found,
        "running": until(lambda: service()["SubState"] == "running"),
        "same_process": service()["MainPID"] == before["MainPID"],
        "waited": omnicdc("wait", "--timeout", "60").returncode,
    }


def edit() -> Result:
    """Edit a registry by hand, and read the journal with the catalog of docs/install.md."""
    for command in block("sh", "--update-catalog").splitlines():
        subprocess.run(["bash", "-c", command], check=True)
    wanted = ["MESSAGE_ID=" + MESSAGE_IDS["drift_found"], "--no-pager"]
    (ROOT / CANONICAL).write_text("edited by hand")
    until(lambda: bool(output_of("journalctl", *wanted, "--output=json").strip()))
    return {
        "entry": json.loads(output_of("journalctl", *wanted, "--output=json").splitlines()[0]),
        "explained": output_of("journalctl", *wanted, "-x"),
        "restored": until(lambda: "edited" not in (ROOT / CANONICAL).read_text()),
    }


def kill(cmp: Cmp) -> Result:
    """Give a registry to a group of the service's user, and kill the daemon.

    The kernel kills a process in the same way when memory is short.
    """
    canonical = ROOT / CANONICAL
    for command in ("groupadd people", "usermod -aG people omnicdc", f"chgrp people {canonical}"):
        subprocess.run(command.split(), check=True)
    canonical.chmod(0o660)
    before = service()
    subprocess.run(["systemctl", "kill", "--signal=KILL", "omnicdc"], check=True)
    back = until(lambda: service()["MainPID"] not in ("0", before["MainPID"]) and is_active())
    rewritten = until(lambda: is_published(cmp, "after the kill"))
    return {
        "back": back,
        "rewritten": rewritten,
        "group": canonical.group(),
        "mode": oct(canonical.stat().st_mode & 0o777),
        **service(),
    }


def hang(cmp: Cmp) -> Result:
    """Stop the daemon's process with SIGSTOP, so that it no longer feeds the watchdog.

    The watchdog's limit is short here.
    """
    (PREFIX / "probe.py").write_text(PROBE)
    watchdog = drop_in("watchdog", WATCHDOG.format(python=sys.executable))
    subprocess.run(["systemctl", "restart", "omnicdc"], check=True)
    before = service()
    os.kill(int(before["MainPID"]), signal.SIGSTOP)
    cmp.upsert("while it hung")
    back = until(lambda: service()["MainPID"] not in ("0", before["MainPID"]) and is_active())
    caught_up = until(lambda: is_published(cmp, "while it hung") and is_published(cmp, "after the hang"))
    after, lines = service(), output_of("journalctl", "--no-pager", "--output=cat", "--since=-20s")
    watchdog.unlink()
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "restart", "omnicdc"], check=True)
    return {"back": back, "caught_up": caught_up, "output": lines, **after}


def watchdog_fed() -> int:
    """Return when the daemon last fed the watchdog, in microseconds."""
    return int(service()["WatchdogTimestampMonotonic"])


def stop_database(server: EmbeddedServer) -> Result:
    """Stop the database while the daemon serves, and again while it starts."""
    before = service()
    server.stop()
    time.sleep(OUTAGE_S)  # the length of the outage is what is tried
    fed = until(lambda: watchdog_fed() > int(before["WatchdogTimestampMonotonic"]))
    during = service()
    server.start()
    with Cmp(CMP) as cmp:
        caught_up = until(lambda: is_published(cmp, "after the outage"))
    after = service()
    server.stop()
    subprocess.run(["systemctl", "restart", "--no-block", "omnicdc"], check=True)
    time.sleep(OUTAGE_S)  # as above
    starting = service()
    server.start()
    with Cmp(CMP) as cmp:
        is_started = until(lambda: is_active() and is_published(cmp, "after the second outage"))
    return {
        "watchdog_fed": fed,
        "caught_up": caught_up,
        "same_process": before["MainPID"] == during["MainPID"] == after["MainPID"],
        "starting": starting,
        "started": is_started,
        **service(),
    }


def is_published(cmp: Cmp, name: str) -> bool:
    """Return whether a project of this name is in the canonical registry. The first call creates it."""
    if not cmp.value("select exists (select from projects where name = %s)", name):
        cmp.upsert(name)
    return name in (ROOT / CANONICAL).read_text()


def stop() -> Result:
    """Stop the service."""
    subprocess.run(["systemctl", "stop", "omnicdc"], check=True)
    return {**service()}


def change_password() -> Result:
    """Start with a wrong password, then without the file, then with the right one."""
    PASSWORD.write_text("wrong")
    result: Result = {"wrong": start()}
    PASSWORD.unlink()
    result["missing"] = start()
    PASSWORD.write_text(SECRET)
    result["corrected"] = start()
    return result


def move_root() -> Result:
    """Move the root, and start without and then with the documented drop-in."""
    elsewhere = Path("/data/infrastructure")
    subprocess.run(["bash", "-c", commands()[8].replace(str(ROOT), str(elsewhere))], check=True)
    CONFIGURATION.write_text(CONFIGURATION.read_text().replace(str(ROOT), str(elsewhere)))
    subprocess.run(["systemctl", "stop", "omnicdc"], check=True)
    closed = start()
    drop_in("root", block("ini", "RequiresMountsFor"))
    return {"closed": closed, "opened": start(), "there": (elsewhere / CANONICAL).exists()}


def start() -> Result:
    """Start the service. If systemd started it again automatically, its state would not be `failed`."""
    result = subprocess.run(["systemctl", "start", "omnicdc"], check=False, capture_output=True)
    state = service()
    lines = output_of(
        "journalctl", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={state['InvocationID']}"
    )
    return {"status": result.returncode, "output": lines.splitlines(), **state}


def omnicdc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as root, as docs/install.md describes."""
    given = {name: value for name, value in os.environ.items() if name != "OMNICDC_CONFIG"}
    return subprocess.run(["omnicdc", *arguments], env=given, text=True, capture_output=True, check=False)


if __name__ == "__main__":
    main(whole="--whole" in sys.argv)
