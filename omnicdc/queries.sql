-- Every statement that omnicdc sends, by name. What is installed in the database is in sql/.

-- open_session: The server notices within a minute that this host is gone, and frees its name; no lock is waited for in silence.
-- A daemon that hangs in a reading holds up whoever alters CMP's table, and every writer behind that: not for long.
-- What the daemon writes need not reach the server's disk at once: lost in a crash, it is said again after the full scan that follows.
select pg_catalog.set_config('synchronous_commit', 'off', false),
       pg_catalog.set_config('tcp_keepalives_idle', '30', false),
       pg_catalog.set_config('tcp_keepalives_interval', '10', false),
       pg_catalog.set_config('tcp_keepalives_count', '3', false),
       pg_catalog.set_config('tcp_user_timeout', '30000', false),
       pg_catalog.set_config('lock_timeout', '30s', false),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', false),
       pg_catalog.set_config('client_connection_check_interval', '1s', false);

-- backend: Who answers, and whether some backend works on a query rather than waits for its client.
select pg_catalog.pg_backend_pid() as pid,
       exists (select from pg_catalog.pg_stat_activity a
                where a.pid operator(pg_catalog.=) %(pid)s::pg_catalog.int4 and a.state operator(pg_catalog.=) 'active'
                  and coalesce(a.wait_event_type, '') operator(pg_catalog.<>) 'Client') as works;

-- leave_mark: Set something in this session.
select pg_catalog.set_config('omnicdc.mark', %(mark)s, false);

-- mark: What this session has of it.
select pg_catalog.current_setting('omnicdc.mark', true) as mark;

-- release_canary: Send a change of nothing on its way.
select omnicdc.release_canary()::text as token;

-- canary: How far it came: noted in the log, and acknowledged; and how full the queue of notifications is.
select exists (select from omnicdc.change c
                where c.xid operator(pg_catalog.=) %(token)s::pg_catalog.xid8
                  and c.project_id operator(pg_catalog.=) omnicdc.canary_id()) as noted,
       coalesce((select pg_catalog.pg_visible_in_snapshot(%(token)s::pg_catalog.xid8, c.snapshot)
                   from omnicdc.consumer c where c.name operator(pg_catalog.=) %(name)s), false) as acknowledged,
       pg_catalog.pg_notification_queue_usage() as queue_usage;

-- confine: From here on a bare name is PostgreSQL's own, and a row policy is an error: it would hide projects, and run in our name.
-- For the session, or for a transaction that only reads: where a pooler stands between, others inherit a session's settings.
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', %(local)s),
       pg_catalog.set_config('row_security', 'off', %(local)s),
       case when %(local)s then pg_catalog.set_config('transaction_read_only', 'on', true) end;

-- limit_statements: No statement of this transaction takes longer, unless the role, the database or the DSN set a limit.
select pg_catalog.set_config('statement_timeout',
         case pg_catalog.current_setting('statement_timeout')
              when '0' then %(limit)s else pg_catalog.current_setting('statement_timeout') end, true);

-- begin_reading: One snapshot for the log and for CMP.
begin isolation level repeatable read read only;

-- snapshot: Which transactions this transaction sees.
select pg_catalog.pg_current_snapshot()::text as snapshot;

-- rewritten: Whether CMP's table was written anew since the transaction's snapshot, to which it then looks empty.
select omnicdc.rewritten() as rewritten;

-- hidden: Whether row-level security hides rows of a table from us, and what lets us see them.
select pg_catalog.row_security_active(%(table)s::pg_catalog.text) as hidden,
       pg_catalog.format('alter role %%I bypassrls'::pg_catalog.text, current_user) as mend;

-- place: Which tables the log and CMP's are.
select omnicdc.place() as place;

-- changes: What is visible now and was not at the last read, by kind of change.
-- Of a kind that concerns more than so many projects, none is named. If changes were pruned that we have not read: everything.
with unread as (
  select c.project_id, c.op, c.fields, count(*) as rows, max(c.at) as at
    from omnicdc.unread(%(last)s) c
   group by c.project_id, c.op, c.fields)
select u.op, u.fields,
       case when bool_and(u.project_id is not null) and (%(most)s::bigint is null or count(*) <= %(most)s)
            then array_agg(u.project_id::text) end as projects,
       sum(u.rows)::bigint as rows,
       extract(epoch from clock_timestamp() - max(u.at))::float8 * 1000 as waited_ms
  from unread u
 group by u.op, u.fields, u.project_id is null
 union all
select 'rebuild', null, null, 0, 0
  from omnicdc.watch w where w.pruned_below > pg_catalog.pg_snapshot_xmin(%(last)s::pg_snapshot);

-- changes_waiting: Whether a read would find anything.
-- It counts, as for EXISTS PostgreSQL 17 reads the whole log if most of it is one transaction's: it expects a row at once.
select count(*) > 0 as waiting from omnicdc.unread(%(last)s);

-- identity: Which cluster this is; snapshots of another mean nothing here. A promotion is in the control file only after a checkpoint.
select s.system_identifier,
       case when pg_catalog.pg_is_in_recovery() then c.timeline_id
            else ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::integer end as timeline, pg_catalog.pg_is_in_recovery() as standby,
       pg_catalog.current_setting('transaction_read_only')::boolean as read_only
  from pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c;

-- known: Whether this consumer has its row.
select exists (select from omnicdc.consumer c where c.name = %(name)s) as known;

-- watch: What is captured, and which migration the schema is at.
select w.target, w.watched, (select max(m.version) from omnicdc.migration m) as version
  from omnicdc.watch w;

-- resolve: The full name of a table, or NULL. It is found by the search_path of whoever connects, and nothing else is.
select (select pg_catalog.format('%%I.%%I'::pg_catalog.text, n.nspname, c.relname)
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
         where c.oid operator(pg_catalog.=) pg_catalog.to_regclass(%(table)s::pg_catalog.text)::pg_catalog.oid) as target;

-- schema_state: Whether omnicdc is installed, and the newest migration.
select pg_catalog.to_regclass('omnicdc.migration') is not null as installed;

-- schema_is_hollow: Whether the schema is there without a row of its own, as after `pg_restore --schema-only`.
select not exists (select from omnicdc.migration) as hollow;

-- schema_version: The newest migration applied.
select coalesce(pg_catalog.max(m.version), 0) as version from omnicdc.migration m;

-- migrated: Note that a numbered file has been applied.
insert into omnicdc.migration (version, name) values (%(version)s, %(name)s);

-- capture_fault: What is wrong with the capture, or NULL; what mends it; and its mark, another one when it may have missed something.
select f.fault, case when f.fault is null then '' else omnicdc.capture_mend() end as mend, omnicdc.capture_mark() as mark
  from omnicdc.capture_fault() as f (fault);

-- park: Take S, shared: from now on writers ring. Not waited for: anybody may hold an advisory lock.
select pg_catalog.pg_try_advisory_lock_shared(1869442665, 2) as parked;

-- unpark: Release S.
select pg_catalog.pg_advisory_unlock_shared(1869442665, 2);

-- writers: Whether anyone holds W, and so may have looked at S before we took it. One who comes while we try notifies.
select case when pg_catalog.pg_try_advisory_lock(1869442665, 1)
            then not pg_catalog.pg_advisory_unlock(1869442665, 1) else true end as writing;

-- take_name: One daemon a consumer name. Held by the session, so it also tells who is alive.
select pg_catalog.pg_try_advisory_lock(1869442666, pg_catalog.hashtext(%(name)s)) as taken;

-- name_holder: Who holds a consumer's name.
select a.pid, a.client_addr::text as address, a.backend_start as since
  from pg_catalog.pg_stat_activity a
 where a.pid = omnicdc.holder(%(name)s);

-- consumer: Where this consumer stood when it last acknowledged.
select c.snapshot::text as snapshot, c.generation, c.system_identifier, c.timeline, c.held
  from omnicdc.consumer c where c.name = %(name)s;

-- forget_other_cluster: Forget what came with a dump of another cluster.
select omnicdc.forget_other_cluster() as forgotten;

-- comparable: Whether a stored snapshot can belong to this cluster's past.
select pg_catalog.pg_snapshot_xmax(%(last)s::pg_snapshot) <= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) as comparable;

-- acknowledge: The files are durable; say so.
insert into omnicdc.consumer as c (name, snapshot, system_identifier, timeline, generation, registries, held, quarantined,
                                   host, root, version, last_error, last_error_at, started_at, published_at, seen_at,
                                   backend, place, capture, inputs)
     values (%(name)s, %(snapshot)s, %(system_identifier)s, %(timeline)s, %(generation)s, %(registries)s, %(held)s,
             %(quarantined)s, %(host)s, %(root)s, %(version)s, %(last_error)s, %(last_error_at)s, %(started_at)s,
             %(published_at)s, clock_timestamp(), pg_catalog.pg_backend_pid(), %(place)s, %(capture)s, %(inputs)s)
on conflict (name) do update
   set snapshot = excluded.snapshot, system_identifier = excluded.system_identifier, timeline = excluded.timeline,
       generation = excluded.generation, registries = excluded.registries, held = excluded.held,
       quarantined = excluded.quarantined, host = excluded.host, root = excluded.root, version = excluded.version,
       last_error = excluded.last_error, last_error_at = excluded.last_error_at, started_at = excluded.started_at,
       published_at = coalesce(excluded.published_at, c.published_at), seen_at = excluded.seen_at,
       backend = excluded.backend, place = excluded.place, capture = excluded.capture,
       inputs = excluded.inputs;

-- remember: One row of the history.
insert into omnicdc.history (consumer, generation, snapshot, changes, registries, held, stages)
     values (%(name)s, %(generation)s, %(snapshot)s, %(changes)s, %(registries)s, %(held)s, %(stages)s);

-- begin: A transaction of several statements.
begin;

-- commit: Its end.
commit;

-- tell: Wake whoever waits. A full queue would undo the acknowledgement; who waits looks by himself, too.
select pg_catalog.pg_notify('omnicdc_published', '') where pg_catalog.pg_notification_queue_usage() < 0.5;

-- prune: Delete what nobody needs any more.
select omnicdc.prune(%(history)s, %(silent)s) as deleted;

-- token: This transaction, to wait for. Assigns an id if it has none yet.
select pg_catalog.pg_current_xact_id()::text as token;

-- request_rebuild: Ask every consumer for a full rebuild.
select omnicdc.request_rebuild()::text as token;

-- request_accept: Let through what the guard holds back.
select omnicdc.request_accept()::text as token;

-- request_look: Ask every consumer to look at its inputs anew.
select omnicdc.request_look()::text as token;

-- transaction: How a transaction ended, what the log holds of it, and whether the log still reaches back to it.
-- Its end is read from the commit log and its changes in a snapshot: it has ended when both say so.
select case when pg_catalog.pg_xact_status(%(token)s::xid8) = 'committed'
             and not pg_catalog.pg_visible_in_snapshot(%(token)s::xid8, pg_catalog.pg_current_snapshot())
            then 'in progress' else pg_catalog.pg_xact_status(%(token)s::xid8) end as status,
       coalesce(bool_or(c.project_id is null), false) as everything,
       count(c.xid) as changes,
       array_remove(array_agg(distinct c.project_id::text), null) as projects,
       max(c.at) as at,
       (select %(token)s::xid8 < w.pruned_below from omnicdc.watch w) as pruned
  from omnicdc.change c where c.xid = %(token)s::xid8;

-- consumers: Every consumer, whether it is alive, and whether its files hold what is waited for: the row is taken at its word
-- only if it is that of the session which is alive, on the tables that are there; and whether the capture may have missed something.
select c.name, c.generation, c.held, c.quarantined, c.last_error, c.published_at, c.host, c.root, c.inputs,
       c.snapshot::text as snapshot,
       c.system_identifier = (select s.system_identifier from pg_catalog.pg_control_system() s) as same_cluster,
       omnicdc.is_alive(c.name) as alive,
       coalesce(c.capture = %(mark)s, false) as proven,
       case when %(token)s::xid8 is not null
            then pg_catalog.pg_visible_in_snapshot(%(token)s::xid8, c.snapshot)
            else not exists (select from omnicdc.unread(c.snapshot) x
                              where pg_catalog.pg_visible_in_snapshot(x.xid, %(barrier)s::pg_snapshot))
                 and not exists (select from omnicdc.watch w
                                  where w.pruned_below > pg_catalog.pg_snapshot_xmin(c.snapshot))
       end and coalesce(omnicdc.holder(c.name) = c.backend and c.place = omnicdc.place(), false) as covered,
       (select count(*) from omnicdc.unread(c.snapshot)) as behind
  from omnicdc.consumer c
 order by c.name;

-- inputs_state: What the daemons that are alive acknowledged of their inputs, and whether they have read a request to look.
select c.name, c.inputs,
       (%(asked)s::xid8 is null or pg_catalog.pg_visible_in_snapshot(%(asked)s::xid8, c.snapshot))
       and coalesce(omnicdc.holder(c.name) = c.backend, false) as covered
  from omnicdc.consumer c
 where omnicdc.is_alive(c.name) and (%(consumer)s::text is null or c.name = %(consumer)s)
 order by c.name;

-- delivery: Which generation of a consumer first held a transaction, and which registries it rewrote or held back.
select h.generation, h.registries, h.held, h.at
  from omnicdc.history h
 where h.consumer = %(name)s and pg_catalog.pg_visible_in_snapshot(%(token)s::xid8, h.snapshot)
 order by h.id limit 1;

-- shown: Whether a held registry's file already shows a transaction.
select pg_catalog.pg_visible_in_snapshot(%(token)s::xid8, %(since)s::pg_snapshot) as shown;

-- newest_change: The last transaction in the log, or of some projects.
select c.xid::text as token
  from omnicdc.change c
 where (%(projects)s::uuid[] is null or c.project_id = any (%(projects)s::uuid[]))
   and c.project_id is distinct from omnicdc.canary_id()
 order by c.xid desc limit 1;

-- log_size: How many rows the log holds, and the oldest.
select count(*) as changes, min(c.at) as oldest
  from omnicdc.change c where c.project_id is distinct from omnicdc.canary_id();

-- status_consumers: Every consumer, how far behind it is, and where the time of its last batch went.
select c.name, omnicdc.is_alive(c.name) as alive, c.host, c.root, c.version, c.generation,
       c.published_at, c.seen_at, c.started_at, unread.behind, unread.lag_s,
       c.registries, c.held, c.quarantined, c.last_error, c.last_error_at, c.inputs,
       coalesce(pg_catalog.pg_blocking_pids(omnicdc.holder(c.name)), '{}') as blocked_by,
       (select h.stages from omnicdc.history h where h.consumer = c.name order by h.id desc limit 1) as stages_ms
  from omnicdc.consumer c
 cross join lateral (
   select count(*) as behind, extract(epoch from clock_timestamp() - min(x.at))::float8 as lag_s
     from omnicdc.unread(c.snapshot) x) as unread
 order by c.name;

-- named: The projects of these names; where a name is not known, those that have it as their key.
select p.id::text as id, p.name, p.key from {table} p where p.name = any (%(names)s) or p.key = any (%(names)s);
