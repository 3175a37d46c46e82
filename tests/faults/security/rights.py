"""The rights that each role must have, and nothing more.

`MATRIX` is the table of docs/security.md. `ACTIONS` are attempts that are not a right on one object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import LiteralString


STRANGERS = ("public", "writer", "owner")
"""Logins without an omnicdc role: one without any right, a writer of CMP's table, and the table's owner."""
ROLES = (*STRANGERS, "omnicdc_client", "omnicdc_daemon", "omnicdc_owner")

READ, CALL = "select", "execute"
NO_ROLE: dict[str, str] = {}
BOTH_READ = {"omnicdc_client": READ, "omnicdc_daemon": READ}
BOTH_CALL = {"omnicdc_client": CALL, "omnicdc_daemon": CALL}
DAEMON_CALLS = {"omnicdc_daemon": CALL}

MATRIX: dict[str, dict[str, str]] = {
    "schema omnicdc": {"omnicdc_client": "usage", "omnicdc_daemon": "usage"},
    "table addition": BOTH_READ,
    "table allowed_publication": BOTH_READ,
    "table canary": NO_ROLE,
    "table change": BOTH_READ,
    "table consumer": {"omnicdc_client": READ, "omnicdc_daemon": "select insert update"},
    "table history": {"omnicdc_client": READ, "omnicdc_daemon": "select insert"},
    "table migration": BOTH_READ,
    "table quarantine": {"omnicdc_client": READ, "omnicdc_daemon": "select insert update delete"},
    "table setting": BOTH_READ,
    "table source": BOTH_READ,
    "sequence history_id_seq": NO_ROLE,
    "function allow_publications()": NO_ROLE,
    "function capture_fault()": BOTH_CALL,
    "function capture_fingerprint()": BOTH_CALL,
    "function capture_remedy(text)": BOTH_CALL,
    "function current_writer()": NO_ROLE,
    "function delivery(text,xid8)": BOTH_CALL,
    "function forget_canary(xid8)": DAEMON_CALLS,
    "function forget_consumer(text,integer)": DAEMON_CALLS,
    "function forget_other_cluster()": DAEMON_CALLS,
    "function create_trigger_function(text,text)": NO_ROLE,
    "function grant_reading(regclass,text[],text)": NO_ROLE,
    "function notified()": NO_ROLE,
    "function hash_of(text)": NO_ROLE,
    "function consumer_lock(text)": BOTH_CALL,
    "function consumer_pid(text)": BOTH_CALL,
    "function identity()": BOTH_CALL,
    "function is_alive(text)": BOTH_CALL,
    "function lacking_functions()": NO_ROLE,
    "function log_if_allowed(smallint,text[],text,text[])": NO_ROLE,
    "function log_row_0()": NO_ROLE,
    "function log_row_1()": NO_ROLE,
    "function log_row_text(smallint,text,text)": NO_ROLE,
    "function log_statement()": NO_ROLE,
    "function log_update_1()": NO_ROLE,
    "function log_update_text(smallint,text,text,text[])": NO_ROLE,
    "function log_with_writer_if_allowed(smallint,text[],text,text[],text[])": NO_ROLE,
    "function record_writers()": NO_ROLE,
    "function relation_identity()": BOTH_CALL,
    "function prune(interval,interval,integer,xid8)": DAEMON_CALLS,
    "function release_canary()": DAEMON_CALLS,
    "function release_source(text)": NO_ROLE,
    "function renew_trigger_functions()": NO_ROLE,
    "function request_accept()": DAEMON_CALLS,
    "function request_look()": BOTH_CALL,
    "function request_rebuild()": BOTH_CALL,
    "function table_rewritten()": DAEMON_CALLS,
    "function notify_consumers()": NO_ROLE,
    "function row_security_fault()": BOTH_CALL,
    "function sleeper_lock()": DAEMON_CALLS,
    "function source_fault(smallint)": NO_ROLE,
    "function source_fingerprint(smallint)": NO_ROLE,
    "function source_key(regclass,text)": NO_ROLE,
    "function consumer_may_wait()": NO_ROLE,
    "function triggered_table(smallint)": NO_ROLE,
    "function unexpected_publications()": BOTH_CALL,
    "function changes_since(pg_snapshot)": BOTH_CALL,
    "function unwatch(regclass)": NO_ROLE,
    "function unwatchable(regclass,text[])": NO_ROLE,
    "function watch(text,regclass,text,text[],text[],boolean)": NO_ROLE,
    "function watched_relations()": DAEMON_CALLS,
    "function watched_types(oid[],text[])": NO_ROLE,
    "function writer_lock()": DAEMON_CALLS,
}
"""The rights of each role on each object of the schema.

`omnicdc_owner` owns every object and may do everything. A role that is not named may do nothing.
"""

POWERS = {
    "schema": "usage create",
    "table": "select insert update delete truncate references trigger",
    "sequence": "usage select update",
    "function": CALL,
}
"""Every right that exists on a kind of object."""

KINDS = {"r": "table", "p": "table", "v": "table", "m": "table", "f": "table", "S": "sequence"}

WATCHED = {"id", "name", "key", "type", "status", "metadata_"}
OTHERS = {"description", "created_at", "updated_at"}
"""The columns of CMP's table that a registry is made from, and the others."""

ACTIONS: dict[LiteralString, str] = {
    # become another role, or change one
    "set role omnicdc_owner": "omnicdc_owner",
    "set session authorization omnicdc_owner": "omnicdc_owner",
    "grant omnicdc_owner to current_user": "",
    "grant omnicdc_daemon to current_user": "",
    "alter role omnicdc_owner login": "",
    "alter default privileges for role omnicdc_owner grant execute on functions to public": "omnicdc_owner",
    # run code in what other roles do
    "create event trigger mine on ddl_command_start execute function pg_temp.mine()": "",
    "create rule mine as on insert to omnicdc.change do also nothing": "omnicdc_owner",
    "create policy mine on omnicdc.change": "omnicdc_owner",
    "create trigger mine after insert on omnicdc.change for each row execute function "
    "pg_temp.mine()": "omnicdc_owner",
    "create trigger mine after insert on pg_temp.mine for each row execute function "
    "omnicdc.log_row_1()": "omnicdc_owner",
    "create index on omnicdc.change (op)": "omnicdc_owner",
    "alter table omnicdc.change alter op set default pg_temp.mine()::text": "omnicdc_owner",
    "create or replace function omnicdc.notify_consumers() returns void language sql as ''": "omnicdc_owner",
    "alter function omnicdc.notify_consumers() security invoker": "omnicdc_owner",
    "alter function omnicdc.notify_consumers() set search_path = public": "omnicdc_owner",
    "create cast (omnicdc.change as text) with inout": "omnicdc_owner",
    "create operator omnicdc.= (leftarg = uuid, rightarg = uuid, function = "
    "pg_catalog.uuid_eq)": "omnicdc_owner",
    "drop schema omnicdc cascade": "omnicdc_owner",
    "comment on schema omnicdc is 'mine'": "omnicdc_owner",
    # CMP's table
    "insert into projects (name) values ('x')": "writer owner",
    "update projects set name = 'x'": "writer owner",
    "delete from projects": "writer owner",
    "truncate projects": "writer owner",
    "lock table projects in access exclusive mode": "writer owner",
    "create trigger mine after insert on projects for each row execute function pg_temp.mine()": "owner",
    "drop trigger omnicdc_log_row on projects": "owner",
    "alter table projects disable trigger user": "owner",
    # reach the server's machine
    "copy (select 1) to program 'true'": "",
    "copy pg_temp.mine from '/etc/passwd'": "",
    "select pg_read_file('/etc/passwd')": "",
    "set session_replication_role = replica": "",
}
"""Other actions that a role might try, and the roles that may do them."""
