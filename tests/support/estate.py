"""An estate that `omnicdc doctor` finds healthy, and what it finds there."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from omnicdc.answers.doctor.checks import GROUPS, examine
from omnicdc.answers.doctor.site import Site
from omnicdc.cli.command import NOT_YET

if TYPE_CHECKING:
    from collections.abc import Collection

    from omnicdc.answers.doctor.finding import Finding, Report
    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People


class Estate:
    """A CMP with projects, a host whose registries hold them, and the roles of those who use them."""

    def __init__(self, cmp: Cmp, host: Host, people: People) -> None:
        self.cmp, self.host, self.people = cmp, host, people
        self.daemon_role, self.client_role = people.add("omnicdc_daemon"), people.add("omnicdc_client")
        self.writer = people.writer()
        cmp.fill(30)
        host.env["OMNICDC_DSN"] = people.dsn(self.client_role)
        self.publish()

    def publish(self) -> None:
        """Bring the files up to date once, as a daemon's role does."""
        self.host.run("run", "--once", OMNICDC_DSN=self.people.dsn(self.daemon_role))

    def examine(self, groups: Collection[str] = GROUPS, **env: str) -> Report:
        """Ask as the client's role, with the files of the host."""
        site = Site({}, self.host.env | env, long_s=0.0, patience_s=1.0)
        try:
            return examine(site, groups)
        finally:
            site.close()

    def failed(self, groups: Collection[str] = GROUPS, **env: str) -> dict[str, Finding]:
        """Return check to its first fault."""
        return failed(self.examine(groups, **env))

    def carry_out(self, finding: Finding) -> None:
        """Run each command of a remedy: omnicdc's and SQL as a superuser, others in a shell."""
        for command in commands(finding):
            words = shlex.split(command)
            if words[0] == "omnicdc":
                done = self.host.run(*words[1:], OMNICDC_DSN=self.cmp.dsn)
                assert done.returncode in (0, NOT_YET), done.stderr  # no daemon runs
            elif words[0] in SQL:
                self.cmp.conn.execute(command.encode())
            else:
                subprocess.run(command, shell=True, check=True)


SQL = ("alter", "create", "drop", "grant", "revoke", "rollback", "select")


def failed(report: Report) -> dict[str, Finding]:
    """Return check to its first fault."""
    found: dict[str, Finding] = {}
    for it in report.results:
        if it.finding.status == "fail":
            found.setdefault(it.check, it.finding)
    return found


def commands(finding: Finding) -> list[str]:
    """Return the commands of a remedy."""
    return re.findall("`([^`]+)`", finding.remedy)


def carry_out(finding: Finding) -> None:
    """Run each command of a remedy in a shell."""
    for command in commands(finding):
        subprocess.run(command, shell=True, check=True)
