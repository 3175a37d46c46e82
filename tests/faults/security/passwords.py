"""A password that is easy to find in any output, and every way to give it to omnicdc, right and wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from support.host import Host


MARKER = "Kanari"
PASSWORD = f"{MARKER}1/{MARKER}2@{MARKER}3:{MARKER}4 '{MARKER}5\\\"{MARKER}6%41é&{MARKER}7#?"
"""Holds every special character. Each of its parts contains the marker, which no other text does."""


def quoted(text: str) -> str:
    """Return a value as libpq reads it in `key=value`."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def ways_to_give(at: dict[str, str], host: Host, password: str) -> dict[str, dict[str, str]]:
    """Return environments that give a password, in every way except the command line."""
    plain = {key: at[key] for key in ("host", "port", "dbname", "user")}
    uri = (
        f"postgresql://{at['user']}:{quote(password, safe='')}@/{at['dbname']}"
        f"?host={quote(at['host'], safe='')}&port={at['port']}"
    )
    parameter = f"{uri.replace(':' + quote(password, safe=''), '')}&password={quote(password, safe='')}"
    file, yaml_file, passfile = (host.root.parent / name for name in ("password", "omnicdc.yaml", "pgpass"))
    file.write_text(password + "\n")
    yaml_file.write_text("dsn: " + json.dumps(make_conninfo("", **plain, password=password)) + "\n")
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    passfile.write_text(f"*:*:*:*:{escaped}\n")
    passfile.chmod(0o600)
    return {
        "a URI": {"OMNICDC_DSN": uri},
        "a parameter of a URI": {"OMNICDC_DSN": parameter},
        "key=value": {"OMNICDC_DSN": f"host={at['host']} port={at['port']} dbname={at['dbname']} "
                                     f"user={at['user']} password={quoted(password)}"},
        "CMP_DB_PASSWORD": {
            "OMNICDC_DSN": "", "CMP_DB_HOST": plain["host"], "CMP_DB_PORT": plain["port"],
            "CMP_DB_NAME": plain["dbname"], "CMP_DB_USER": plain["user"], "CMP_DB_PASSWORD": password,
        },
        "PGPASSWORD": {"OMNICDC_DSN": make_conninfo("", **plain), "PGPASSWORD": password},
        "a password file": {"OMNICDC_DSN": make_conninfo("", **plain), "OMNICDC_PASSWORD_FILE": str(file)},
        "the configuration": {"OMNICDC_DSN": "", "OMNICDC_CONFIG": str(yaml_file)},
        ".pgpass": {"OMNICDC_DSN": make_conninfo("", **plain), "PGPASSFILE": str(passfile)},
    }  # fmt: skip


def mistakes(at: dict[str, str], host: Host) -> dict[str, dict[str, str]]:
    """Return environments in which the password, or a value beside it, is wrong, with the usual mistakes."""
    kv = f"host={at['host']} port={at['port']} dbname={at['dbname']} user={at['user']}"
    files = {
        "a tab in YAML": f"dsn: {kv} password={PASSWORD}\n\t x",
        "a colon in YAML": f"dsn: host=h password: {PASSWORD}\n",
        "YAML that is a secret": PASSWORD,
        "an unknown setting": f"pasword: {json.dumps(PASSWORD)}\nroot: /",
        "a list": f"dsn: [{json.dumps(PASSWORD)}]",
        "a map": f"dsn: {{password: {json.dumps(PASSWORD)}}}",
    }
    written = {}
    for number, (what, text) in enumerate(files.items()):
        file = host.root.parent / f"broken{number}.yaml"
        file.write_text(text)
        written[what] = {"OMNICDC_DSN": "", "OMNICDC_CONFIG": str(file)}
    return written | {
        "the wrong password": {"OMNICDC_DSN": f"{kv} password={quoted(PASSWORD + 'x')}"},
        "no server": {"OMNICDC_DSN": f"host={host.root} user=x password={quoted(PASSWORD)}"},
        "no database": {"OMNICDC_DSN": f"{kv} password={quoted(PASSWORD)} dbname=nowhere"},
        "no role": {"OMNICDC_DSN": f"{kv} password={quoted(PASSWORD)} user=nobody_here"},
        "a URI that is not escaped": {"OMNICDC_DSN": f"postgresql://{at['user']}:{PASSWORD}@localhost/x"},
        "a URI with a bad port": {"OMNICDC_DSN": f"postgresql://u:{quote(PASSWORD, safe='')}@h:{MARKER}/x"},
        "an unfinished quote": {"OMNICDC_DSN": f"{kv} password='{MARKER} unfinished"},
        "a password for an option": {"OMNICDC_DSN": f"{kv} {MARKER}=x"},
        "a blank": {"OMNICDC_DSN": f"{kv} password = {MARKER} {MARKER}"},
        "a bad escape": {"OMNICDC_DSN": f"postgresql://u:{MARKER}%zz@h/x"},
        "no text": {"OMNICDC_DSN": f"{kv} password={quoted(MARKER)}\udcff"},
        "a passphrase": {"OMNICDC_DSN": f"{kv} password=x sslmode=require sslcert=/nowhere "
                                        f"sslpassword={MARKER}"},
    }  # fmt: skip
