-- Every statement that omnicdc sends, by name. What is installed in the database is in sql/.

-- pin: Set omnicdc's parameters, for a transaction or for the session; with `pid`, only if that server process is the one that answers.
-- The owner of the database or of the role may have set them for other purposes: how values are written, how strings are read,
-- which isolation level reads the log (SERIALIZABLE would make CMP's own writers fail), when an idle session is ended.
-- A parameter that this server does not have is skipped. default_transaction_read_only and statement_timeout are left alone,
-- because a DBA uses them for maintenance and to limit the load.
select pg_catalog.pg_backend_pid() as pid, pg_catalog.count(pg_catalog.set_config(s.name, s.value, %(local)s)) as pinned
  from (values ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'), ('bytea_output', 'hex'),
               ('extra_float_digits', '1'), ('lc_numeric', 'C'), ('lc_monetary', 'C'), ('lc_time', 'C'),
               ('xmloption', 'content'), ('xmlbinary', 'base64'), ('quote_all_identifiers', 'off'),
               ('standard_conforming_strings', 'on'), ('backslash_quote', 'safe_encoding'),
               ('transform_null_equals', 'off'), ('array_nulls', 'on'), ('client_min_messages', 'warning'),
               ('default_transaction_isolation', 'read committed'), ('default_transaction_deferrable', 'off'),
               ('lock_timeout', '30s'), ('idle_in_transaction_session_timeout', '5min'),
               ('idle_session_timeout', '0'), ('transaction_timeout', '0'), ('row_security', 'on'), ('jit', 'off'), ('plan_cache_mode', 'auto')
       ) s (name, value)
 where pg_catalog.current_setting(s.name, true) is not null
   and coalesce(pg_catalog.pg_backend_pid() operator(pg_catalog.=) %(pid)s::pg_catalog.int4, true);

-- open_session: The server detects within a minute that this host is gone, and releases its name; waiting for a lock ends with an error.
-- What the daemon writes need not reach the server's disk at once: if a crash loses it, the full scan that follows writes it again.
select pg_catalog.set_config('synchronous_commit', 'off', false),
       pg_catalog.set_config('tcp_keepalives_idle', '30', false),
       pg_catalog.set_config('tcp_keepalives_interval', '10', false),
       pg_catalog.set_config('tcp_keepalives_count', '3', false),
       pg_catalog.set_config('tcp_user_timeout', '30000', false),
       pg_catalog.set_config('lock_timeout', '30s', false),
       pg_catalog.set_config('client_connection_check_interval', '1s', false);

-- limit_reading_idle: The server ends the session of a daemon that does nothing for so many milliseconds within a transaction.
-- A daemon that hangs while it reads blocks an ALTER of CMP's table, and every writer behind that: only for a short time.
select pg_catalog.set_config('idle_in_transaction_session_timeout', %(milliseconds)s::pg_catalog.int4::pg_catalog.text, false);

-- backend: Which server process answers, and whether another one works on a query and does not wait for its client.
select pg_catalog.pg_backend_pid() as pid,
       exists (select from pg_catalog.pg_stat_activity a
                where a.pid operator(pg_catalog.=) %(pid)s::pg_catalog.int4 and a.state operator(pg_catalog.!~~) 'idle%%'
                  and coalesce(a.wait_event_type, '') operator(pg_catalog.<>) 'Client') as works;

-- backend_pid: Which server process answers.
select pg_catalog.pg_backend_pid() as pid;

-- is_open_here: Whether this database's server process holds this transaction open. Every role may read both views.
select exists (select from pg_catalog.pg_locks l
                 join pg_catalog.pg_stat_activity a on a.pid operator(pg_catalog.=) l.pid
                where l.locktype operator(pg_catalog.=) 'transactionid' and l.granted
                  and l.transactionid operator(pg_catalog.=) (%(token)s::pg_catalog.xid8)::pg_catalog.xid
                  and l.pid operator(pg_catalog.=) %(pid)s::pg_catalog.int4
                  and a.datname operator(pg_catalog.=) pg_catalog.current_database()) as is_open;

-- release_canary: Send a test change through the log.
select omnicdc.release_canary()::text as token;

-- canary: How far the canary came: written to the log, acknowledged; and how full the queue of notifications is.
select exists (select from omnicdc.change c
                where c.xid operator(pg_catalog.=) %(token)s::pg_catalog.xid8
                  and c.source operator(pg_catalog.=) 0) as noted,
       coalesce((select pg_catalog.pg_visible_in_snapshot(%(token)s::pg_catalog.xid8, c.snapshot)
                   from omnicdc.consumer c where c.name operator(pg_catalog.=) %(name)s), false) as acknowledged,
       pg_catalog.pg_notification_queue_usage() as queue_usage;

-- forget_canary: Delete a canary that arrived from the log.
select omnicdc.forget_canary(%(token)s::pg_catalog.xid8);

-- confine: From here on an unqualified name is PostgreSQL's own, and row policies of omnicdc's own tables are applied.
-- For the session, or for a transaction that only reads: behind a pooler, other clients would inherit a session's settings.
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', %(local)s),
       pg_catalog.set_config('row_security', 'on', %(local)s),
       case when %(local)s then pg_catalog.set_config('transaction_read_only', 'on', true) end;

-- refuse_policies: Before CMP is read: until the end of the transaction a row policy is an error, because it would hide projects, and run with our rights.
-- That applies to omnicdc's tables as well, so they are read before, or by functions that set row_security for themselves.
select pg_catalog.set_config('row_security', 'off', true);

-- limit_statements: Limit the duration of each statement of this transaction, or of the session, unless the role, the database or the DSN sets a limit.
select pg_catalog.set_config('statement_timeout',
         case when pg_catalog.current_setting('statement_timeout') operator(pg_catalog.=) '0'
              then %(limit)s else pg_catalog.current_setting('statement_timeout') end, %(local)s);

-- begin_reading: One snapshot for the log and for CMP.
begin isolation level repeatable read read only;

-- snapshot: Which transactions this transaction sees.
select pg_catalog.pg_current_snapshot()::text as snapshot;

-- table_rewritten: Whether CMP's table was rewritten since the transaction's snapshot, in which it then looks empty.
select omnicdc.table_rewritten() as rewritten;

-- hidden: Whether row-level security hides rows of a table from us, and the remedy.
select pg_catalog.row_security_active(%(table)s::pg_catalog.text) as hidden,
       pg_catalog.format('alter role %%I bypassrls'::pg_catalog.text, current_user) as remedy;

-- relation_identity: The identity of the log and of CMP's table.
select omnicdc.relation_identity() as relation_identity;

-- changes: What is visible now and was not visible at the last read, grouped by kind of change.
-- If a kind concerns more than `most` projects, none is named. If changes were pruned that were not read: everything.
with new as (
  select c.source, c.key, c.op, c.fields, count(*) as rows, max(c.at) as at
    from omnicdc.changes_since(%(last)s) c
   group by c.source, c.key, c.op, c.fields)
select n.op, n.fields,
       -- The changes of a source that was released have a name that no registry reads.
       case when n.source is not null
            then coalesce((select s.name from omnicdc.source s where s.id = n.source), '') end as source,
       case when bool_and(n.key is not null) and (%(most)s::bigint is null or count(*) <= %(most)s)
            then array_agg(n.key) end as projects,
       sum(n.rows)::bigint as rows,
       extract(epoch from clock_timestamp() - max(n.at))::float8 * 1000 as waited_ms
  from new n
 group by n.source, n.op, n.fields, n.key is null
 union all
select 'rebuild', null, null, null, 0, 0
 where exists (select from omnicdc.source s where s.pruned_below > pg_catalog.pg_snapshot_xmin(%(last)s::pg_snapshot));

-- changes_waiting: How many changes a read would find, and for how many seconds the oldest waits.
-- It counts them all, because for EXISTS PostgreSQL 17 reads the whole log if most of it belongs to one transaction: it expects a row at once.
select count(*) as waiting, extract(epoch from clock_timestamp() - min(c.at))::float8 as oldest_s from omnicdc.changes_since(%(last)s) c;

-- transactions: How many transactions a read finds.
select count(distinct c.xid) as transactions from omnicdc.changes_since(%(last)s) c;

-- traces: The trace contexts of the changes that a read finds, and for how many seconds the first change of each waits.
select c.writer[3] as traceparent, extract(epoch from clock_timestamp() - min(c.at))::float8 as age_s
  from omnicdc.changes_since(%(last)s) c
 where c.writer[3] is not null
 group by 1 order by 2 desc limit %(most)s;

-- identity: Which cluster this is; snapshots of another are not valid here.
select i.system_identifier, i.timeline, pg_catalog.pg_is_in_recovery() as standby,
       pg_catalog.current_setting('transaction_read_only')::boolean as read_only
  from omnicdc.identity() i;

-- known: Whether this consumer has its row.
select exists (select from omnicdc.consumer c where c.name = %(name)s) as known;

-- sources: What is captured.
select s.name, s.target, s.key_column, s.watched from omnicdc.source s order by s.id;

-- release_source: End the capture of a source; whether there was one of this name.
select omnicdc.release_source(%(name)s) as released;

-- schema_is_closed: Whether the role may not use a schema. Then it may not even look up a table there.
select not pg_catalog.has_schema_privilege(n.oid, 'usage'::pg_catalog.text) as closed
  from pg_catalog.pg_namespace n where n.nspname operator(pg_catalog.=) %(schema)s::pg_catalog.name;

-- resolve: The full name of a table, or NULL. The only thing that is found by the search_path of the connecting role.
select (select pg_catalog.format('%%I.%%I'::pg_catalog.text, n.nspname, c.relname)
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
         where c.oid operator(pg_catalog.=) pg_catalog.to_regclass(%(table)s::pg_catalog.text)::pg_catalog.oid) as target;

-- probe_table: Reads nothing of a table. It fails if the role may read no column of it.
select from {table} limit 0;

-- table_facts: What decides whether a table can be captured, and which column's value the log names its rows by. NULL: none.
select c.relkind in ('r', 'p') as ordinary, c.relkind in ('v', 'm') as view, c.relrowsecurity as secured, k.columns is not null as keyed,
       case when k.columns operator(pg_catalog.=) 1 then (
         select a.attname::pg_catalog.text from pg_catalog.pg_attribute a
          where a.attrelid operator(pg_catalog.=) c.oid and a.attnum operator(pg_catalog.=) k.first
            and a.atttypid operator(pg_catalog.=) any ('{uuid,int2,int4,int8,text,varchar}'::pg_catalog.regtype[])) end as key_column
  from pg_catalog.pg_class c
  left join lateral (select i.indnkeyatts as columns, i.indkey[0] as first
                       from pg_catalog.pg_index i where i.indrelid operator(pg_catalog.=) c.oid and i.indisprimary) k on true
 where c.oid operator(pg_catalog.=) %(table)s::pg_catalog.regclass::pg_catalog.oid;

-- schema_state: Whether omnicdc is installed, and whether it was ever upgraded by an additive migration.
select pg_catalog.to_regclass('omnicdc.migration') is not null as installed,
       pg_catalog.to_regclass('omnicdc.addition') is not null as additions;

-- schema_is_hollow: Whether the schema exists and has no rows, as after `pg_restore --schema-only`; false if policies may hide them.
select not exists (select from omnicdc.migration) and not pg_catalog.row_security_active('omnicdc.migration') as hollow;

-- event_triggers: The enabled event triggers, each with its function's full name.
select pg_catalog.quote_ident(t.evtname) as name,
       pg_catalog.format('%I.%I'::pg_catalog.text, n.nspname, p.proname) as function
  from pg_catalog.pg_event_trigger t
  join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) t.evtfoid
  join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace
 where t.evtenabled operator(pg_catalog.<>) 'D';

-- owners: The owners of the captured tables.
select distinct pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text) as owner
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) t.tgrelid
  join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) t.tgfoid
 where p.pronamespace operator(pg_catalog.=) pg_catalog.to_regnamespace('omnicdc')
   and c.relnamespace operator(pg_catalog.<>) pg_catalog.to_regnamespace('omnicdc');

-- policies_lacking: Whether one of omnicdc's tables lacks its policy, or has another one of that name. The condition is that of sql/policies.sql.
select exists (select from pg_catalog.pg_class c
                where c.relnamespace operator(pg_catalog.=) pg_catalog.to_regnamespace('omnicdc') and c.relkind operator(pg_catalog.=) 'r'
                  and not exists (
                    select from pg_catalog.pg_policy p
                     where p.polrelid operator(pg_catalog.=) c.oid and p.polname operator(pg_catalog.=) 'omnicdc_all'
                       and p.polpermissive and p.polcmd operator(pg_catalog.=) '*'
                       and p.polroles operator(pg_catalog.@>) array[pg_catalog.to_regrole('omnicdc_owner')::pg_catalog.oid,
                             pg_catalog.to_regrole('omnicdc_daemon')::pg_catalog.oid, pg_catalog.to_regrole('omnicdc_client')::pg_catalog.oid]
                       and pg_catalog.pg_get_expr(p.polqual, c.oid) operator(pg_catalog.=) 'true'
                       and pg_catalog.pg_get_expr(p.polwithcheck, c.oid) operator(pg_catalog.=) 'true')) as lacking;

-- row_security_fault: What is wrong with the row-level security of omnicdc's tables, and the remedy; no row if nothing is.
select r.fault, r.remedy from omnicdc.row_security_fault() r;

-- hidden_schema: Whether row-level security may hide from us which migrations have been applied.
select pg_catalog.row_security_active('omnicdc.migration') as hidden;

-- schema_version: The newest migration applied, of those that every program must know.
select coalesce(pg_catalog.max(m.version), 0) as version from omnicdc.migration m;

-- schema_revision: The newest additive migration applied.
select coalesce(pg_catalog.max(a.revision), 0) as revision from omnicdc.addition a;

-- migrated: Record that a numbered file was applied.
insert into omnicdc.migration (version, name) values (%(number)s, %(name)s);

-- added: Record that a numbered file was applied that older programs need not know.
insert into omnicdc.addition (revision, name) values (%(number)s, %(name)s);

-- choose_writers: For the rest of this transaction, whether writers are to be recorded: on, off, or '' for what was chosen before.
select pg_catalog.set_config('omnicdc.record_writers', %(chosen)s::pg_catalog.text, true);

-- renew_trigger_functions: Write outdated trigger functions again; whether there was one.
select omnicdc.renew_trigger_functions() as renewed;

-- writers_recorded: Whether writers shall be recorded, and whether the trigger functions of every source do so.
select coalesce((select s.value operator(pg_catalog.=) 'on' from omnicdc.setting s
                  where s.name operator(pg_catalog.=) 'record_writers'), false) as chosen,
       coalesce((select pg_catalog.bool_and(pg_catalog.position(f.prosrc, 'omnicdc.traceparent') operator(pg_catalog.>) 0)
                   from pg_catalog.pg_proc f
                  where f.pronamespace operator(pg_catalog.=) pg_catalog.to_regnamespace('omnicdc')
                    and f.proname operator(pg_catalog.~) '^log_(row|update)_[1-9][0-9]*$'), false) as recorded;

-- allow_publications: Name the publications that may carry omnicdc's tables, for the rest of this transaction.
select pg_catalog.set_config('omnicdc.allowed_publications', %(names)s::pg_catalog.text[]::pg_catalog.text, true);

-- unexpected_publications: The publications that carry omnicdc's tables and are not allowed to.
select p as name from omnicdc.unexpected_publications() as p;

-- capture_fault: What is wrong with the capture, or NULL; the remedy; and the fingerprint, which differs when the capture may have missed changes.
select f.fault, case when f.fault is null then '' else omnicdc.capture_remedy(f.fault) end as remedy, omnicdc.capture_fingerprint() as fingerprint
  from omnicdc.capture_fault() as f (fault);

-- capture: The same, for a daemon; and whether the trigger functions log the trace contexts that writers set.
select f.fault, case when f.fault is null then '' else omnicdc.capture_remedy(f.fault) end as remedy, omnicdc.capture_fingerprint() as fingerprint,
       exists (select from pg_catalog.pg_proc p
                where p.pronamespace operator(pg_catalog.=) pg_catalog.to_regnamespace('omnicdc')
                  and p.proname operator(pg_catalog.~) '^log_(row|update)_[1-9]'
                  and p.prosrc operator(pg_catalog.~) 'omnicdc[.]traceparent') as traces
  from omnicdc.capture_fault() as f (fault);

-- fingerprint: The capture's fingerprint alone: it changes when CMP's rows may show something else than before.
select omnicdc.capture_fingerprint() as fingerprint;

-- park: Take the sleeper lock, shared: from now on writers notify. It does not wait, because any user can hold an advisory lock.
select pg_catalog.pg_try_advisory_lock_shared(omnicdc.sleeper_lock()) as parked;

-- unpark: Release the sleeper lock.
select pg_catalog.pg_advisory_unlock_shared(omnicdc.sleeper_lock());

-- writers: Whether a session holds the writer lock, and so may have checked the sleeper lock before we took it.
-- A writer that begins during this check notifies.
select case when pg_catalog.pg_try_advisory_lock(omnicdc.writer_lock())
            then not pg_catalog.pg_advisory_unlock(omnicdc.writer_lock()) else true end as writing;

-- lock_consumer_name: Only one daemon can use a consumer's name. The session holds the lock, so it also shows that the daemon is alive.
select pg_catalog.pg_try_advisory_lock(omnicdc.consumer_lock(%(name)s)) as taken;

-- consumer_session: The session that holds the lock on a consumer's name.
select a.pid, a.client_addr::text as address, a.backend_start as since
  from pg_catalog.pg_stat_activity a
 where a.pid = omnicdc.consumer_pid(%(name)s);

-- consumer: The state of this consumer when it last acknowledged.
select c.snapshot::text as snapshot, c.generation, c.system_identifier, c.timeline, c.held
  from omnicdc.consumer c where c.name = %(name)s;

-- forget_consumer: Remove a consumer and some of its generations; whether all of them are gone.
select omnicdc.forget_consumer(%(name)s) as gone;

-- forget_other_cluster: Delete what came with a dump of another cluster.
select omnicdc.forget_other_cluster() as forgotten;

-- comparable: Whether a stored snapshot can belong to this cluster's past.
select pg_catalog.pg_snapshot_xmax(%(last)s::pg_snapshot) <= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) as comparable;

-- acknowledge: Record that the files are durable.
insert into omnicdc.consumer as c (name, snapshot, system_identifier, timeline, generation, registries, held, quarantined,
                                   host, root, version, last_error, last_error_at, started_at, published_at, seen_at,
                                   backend, relation_identity, capture_fingerprint, daemon, expiry, quarantined_counts, unused, faults, postponed, inputs)
     values (%(name)s, %(snapshot)s, %(system_identifier)s, %(timeline)s, %(generation)s, %(registries)s, %(held)s,
             %(quarantined)s, %(host)s, %(root)s, %(version)s, %(last_error)s, %(last_error_at)s, %(started_at)s,
             %(published_at)s, clock_timestamp(), pg_catalog.pg_backend_pid(), %(relation_identity)s, %(capture_fingerprint)s, %(daemon)s,
             %(expiry)s, %(quarantined_counts)s, %(unused)s, %(faults)s, %(postponed)s, %(inputs)s)
on conflict (name) do update
   set snapshot = excluded.snapshot, system_identifier = excluded.system_identifier, timeline = excluded.timeline,
       generation = excluded.generation, registries = excluded.registries, held = excluded.held,
       quarantined = excluded.quarantined, host = excluded.host, root = excluded.root, version = excluded.version,
       last_error = excluded.last_error, last_error_at = excluded.last_error_at, started_at = excluded.started_at,
       published_at = coalesce(excluded.published_at, c.published_at), seen_at = excluded.seen_at,
       backend = excluded.backend, relation_identity = excluded.relation_identity, capture_fingerprint = excluded.capture_fingerprint,
       daemon = c.daemon or excluded.daemon, expiry = excluded.expiry,
       quarantined_counts = excluded.quarantined_counts, unused = excluded.unused, faults = excluded.faults, postponed = excluded.postponed, inputs = excluded.inputs
returning c.xmax operator(pg_catalog.=) '0'::pg_catalog.xid as added;

-- reset_quarantine: Forget what this consumer held back.
delete from omnicdc.quarantine q where q.consumer = %(name)s;

-- leave_quarantine: These projects are no longer held back from a registry.
delete from omnicdc.quarantine q
 where q.consumer = %(name)s and q.registry = %(registry)s and q.key = any (%(projects)s::pg_catalog.text[]);

-- enter_quarantine: These projects are held back from now on, and why.
insert into omnicdc.quarantine as q (consumer, registry, source, joined, key, reason)
select %(name)s, %(registry)s, %(source)s, %(joined)s, held.key, held.reason
  from rows from (pg_catalog.unnest(%(projects)s::pg_catalog.text[]), pg_catalog.unnest(%(reasons)s::pg_catalog.text[]))
       as held (key, reason)
on conflict (consumer, registry, key) do update set reason = excluded.reason;

-- add_history: Add one row to the history.
insert into omnicdc.history (consumer, generation, snapshot, changes, registries, held, postponed, timings)
     values (%(name)s, %(generation)s, %(snapshot)s, %(changes)s, %(registries)s, %(held)s, %(postponed)s, %(timings)s);

-- history_of: What a consumer did in a generation. Of the rows of one generation, that of the cycle that wrote files.
select h.consumer, h.generation, h.snapshot::text as snapshot, h.changes, h.registries, h.held, h.timings, h.at
  from omnicdc.history h
 where h.consumer = %(consumer)s and h.generation = %(generation)s
 order by h.registries = '{}', h.id
 limit 1;

-- begin: A transaction of several statements.
begin;

-- commit: Its end.
commit;

-- notify: Notify the waiting clients. A full queue would undo the acknowledgement, so it is left out then; clients also poll.
select pg_catalog.pg_notify('omnicdc_published', '') where pg_catalog.pg_notification_queue_usage() < 0.5;

-- limit_batch: Limit how long a batch of the pruning takes, whatever the role's own limits and other sessions' locks are.
select pg_catalog.set_config('statement_timeout', '1s', true), pg_catalog.set_config('lock_timeout', '100ms', true);

-- prune: Delete some of the rows that are older than the retention; whether there may be more, and from which transaction on.
select b.changes, b.more, b.reached::text as reached, b.forgotten
  from omnicdc.prune(%(history)s, %(expiry)s, %(most)s::pg_catalog.int4, %(since)s::pg_catalog.xid8) as b;

-- token: This transaction, to wait for. Assigns an id if it has none yet. Also sent by drivers for which a colon begins a parameter, so it has no `::`.
select cast(pg_catalog.pg_current_xact_id() as pg_catalog.text) as token;

-- token_if_assigned: This transaction, if it has an id. As above.
select cast(pg_catalog.pg_current_xact_id_if_assigned() as pg_catalog.text) as token;

-- request_rebuild: Ask every consumer for a full rebuild.
select omnicdc.request_rebuild()::text as token;

-- request_accept: Ask every consumer to publish what its guard holds back.
select omnicdc.request_accept()::text as token;

-- request_look: Ask every consumer to read its inputs again.
select omnicdc.request_look()::text as token;

-- transaction: How a transaction ended, what the log holds of it, and whether the log still reaches back to it.
-- Its end is read from the commit log, and its changes in a snapshot: it has ended when both show it.
select case when pg_catalog.pg_xact_status(%(token)s::xid8) = 'committed'
             and not pg_catalog.pg_visible_in_snapshot(%(token)s::xid8, pg_catalog.pg_current_snapshot())
            then 'in progress' else pg_catalog.pg_xact_status(%(token)s::xid8) end as status,
       coalesce(bool_or(c.key is null), false) as everything,
       count(c.xid) as changes,
       array_remove(array_agg(distinct c.key), null) as projects,
       max(c.at) as at,
       exists (select from omnicdc.source s where %(token)s::xid8 < s.pruned_below) as pruned
  from omnicdc.change c where c.xid = %(token)s::xid8;

-- consumers: Every consumer: how far behind it is (at most 10,000 changes), whether it is alive, whether its files hold what is waited for,
-- and whether the capture may have missed changes. The row is trusted only if the live session wrote it, and about the tables that exist now.
select s.*,
       -- Of what is held back, the projects that the transaction may have changed (all, if the log does not reach back to it);
       -- only when there is nothing else to wait for.
       coalesce((select jsonb_object_agg(held.registry, held.projects)
                   from (select q.registry, jsonb_object_agg(q.key, q.reason) as projects
                           from omnicdc.quarantine q
                          where s.covered and q.consumer = s.name
                            and ((%(token)s::xid8 is null and (%(projects)s::text[] is null or (q.source = 'projects' and q.key = any (%(projects)s::text[]))))
                                 or (q.source, q.key) in (select src.name, x.key from omnicdc.change x join omnicdc.source src on src.id = x.source
                                                           where x.xid = %(token)s::xid8)
                                 or exists (select from omnicdc.change x where x.xid = %(token)s::xid8 and x.key is null)
                                 -- Which entries a row of a joined table concerns is not known.
                                 or exists (select from omnicdc.change x join omnicdc.source src on src.id = x.source
                                             where x.xid = %(token)s::xid8 and src.name = any (q.joined))
                                 or exists (select from omnicdc.source src where %(token)s::xid8 < src.pruned_below))
                          group by q.registry) as held), '{}') as quarantined
  from (
select c.name, c.daemon, c.generation, c.held, c.postponed, c.last_error, c.published_at, c.host, c.root, c.inputs,
       c.snapshot::text as snapshot,
       c.system_identifier = (select i.system_identifier from omnicdc.identity() i) as same_cluster,
       omnicdc.is_alive(c.name) as alive,
       coalesce(c.capture_fingerprint = %(fingerprint)s, false) as verified,
       c.daemon and c.seen_at > clock_timestamp() - coalesce(c.expiry, interval '1 day') as expected,
       case when %(token)s::xid8 is not null
            then pg_catalog.pg_visible_in_snapshot(%(token)s::xid8, c.snapshot)
            else not exists (select from omnicdc.changes_since(c.snapshot) x
                              where x.xid < pg_catalog.pg_snapshot_xmax(%(barrier)s::pg_snapshot)
                                and pg_catalog.pg_visible_in_snapshot(x.xid, %(barrier)s::pg_snapshot))
                 and not exists (select from omnicdc.source src
                                  where src.pruned_below > pg_catalog.pg_snapshot_xmin(c.snapshot))
       end and coalesce(omnicdc.consumer_pid(c.name) = c.backend and c.relation_identity = omnicdc.relation_identity(), false) as covered,
       (select count(*) from (select from omnicdc.changes_since(c.snapshot) limit 10000) as first_ones) as behind
  from omnicdc.consumer c) as s
 order by s.name;

-- inputs_state: What the live daemons acknowledged of their inputs, and whether they have read a request to read them again.
select c.name, c.inputs,
       (%(asked)s::xid8 is null or pg_catalog.pg_visible_in_snapshot(%(asked)s::xid8, c.snapshot))
       and coalesce(omnicdc.consumer_pid(c.name) = c.backend, false) as covered
  from omnicdc.consumer c
 where omnicdc.is_alive(c.name) and (%(consumer)s::text is null or c.name = %(consumer)s)
 order by c.name;

-- delivery: Which generation of a consumer first held some transactions, and which registries it rewrote or held back.
-- A registry that it postponed counts as rewritten if the generation that caught up with it rewrote it.
-- Without tokens: everything that was committed at the barrier. A generation holds everything that an earlier one held, so it is
-- the one after the last that lacks anything, searched from the newest backwards. If no generation lacks anything, and some were
-- pruned, it is not known any more: no row.
select h.generation, h.held, h.postponed, h.at,
       h.registries || array(
         select p.registry from pg_catalog.unnest(h.postponed) as p (registry)
          where (select p.registry = any (l.registries) from omnicdc.history l
                  where l.consumer = %(name)s and l.id > h.id and p.registry <> all (l.postponed) order by l.id limit 1)) as registries
  from (
    select d.*
      from pg_catalog.unnest(%(tokens)s::pg_catalog.text[]) as t (token)
     cross join lateral omnicdc.delivery(%(name)s::pg_catalog.text, t.token::pg_catalog.xid8) as d
     union all
    (select b.*
       from (select (select o.id from omnicdc.history o
                      where o.consumer = %(name)s
                        and exists (select from omnicdc.changes_since(o.snapshot) x
                                     where pg_catalog.pg_visible_in_snapshot(x.xid, %(barrier)s::pg_snapshot))
                      order by o.id desc limit 1) as id) as lacking
       join omnicdc.consumer c on c.name = %(name)s and (lacking.id is not null or not c.history_pruned)
       join omnicdc.history b on b.consumer = c.name and b.id > coalesce(lacking.id, 0)
      where %(tokens)s::pg_catalog.text[] is null
      order by b.id limit 1)
    ) as h
 order by h.id desc limit 1;

-- shown: Whether a held registry's file already shows a transaction.
select pg_catalog.pg_visible_in_snapshot(%(token)s::xid8, %(since)s::pg_snapshot) as shown;

-- lacks: Whether a held or postponed registry's file, which shows a snapshot, lacks a change of these projects (or any change) that
-- was committed at the barrier.
-- A change concerns the registry if the generation that read it held the registry back, or if that is not known.
select exists (select from omnicdc.source src where src.pruned_below > pg_catalog.pg_snapshot_xmin(%(since)s::pg_snapshot))
    or exists (select from omnicdc.changes_since(%(since)s::pg_snapshot) x
                where x.op not in ('rebuild', 'accept', 'look')
                  and (%(projects)s::uuid[] is null or
                       ((x.source is null or exists (select from omnicdc.source s where s.id = x.source and s.name = 'projects'))
                        and (x.key is null or x.key = any (%(projects)s::uuid[]::text[]))))
                  and pg_catalog.pg_visible_in_snapshot(x.xid, %(barrier)s::pg_snapshot)
                  and coalesce((select %(registry)s = any (h.held || h.postponed)
                                  from omnicdc.delivery(%(name)s::pg_catalog.text, x.xid) h), true)) as lacks;

-- newest_changes: The last change of each of these projects that was committed at the barrier, the newest first.
-- Ordered by the time of writing: a writer of a row waits for the one before it, so for one project that is the order of the commits.
select n.token, n.at
  from (select distinct on (c.key) c.xid::text as token, c.at
          from omnicdc.change c
          join omnicdc.source s on s.id = c.source and s.name = 'projects'
         where c.key = any (%(projects)s::uuid[]::text[])
           and pg_catalog.pg_visible_in_snapshot(c.xid, %(barrier)s::pg_snapshot)
         order by c.key, c.at desc) as n
 order by n.at desc limit 100;

-- registries: The registries of the consumers that have a daemon, in the order of publication.
select r.registry ->> 'scanner' as scanner, r.registry ->> 'name' as name
  from omnicdc.consumer c cross join lateral pg_catalog.jsonb_each(c.registries) as r (path, registry)
 where omnicdc.is_alive(c.name)
 group by 1, 2 order by min((r.registry ->> 'rank')::integer), 1;

-- consumer_names: Every name that a consumer has or had.
select c.name from omnicdc.consumer c order by c.name;

-- asked_at: Which database answers, and the server's time.
select pg_catalog.current_database()::pg_catalog.text as database, clock_timestamp() as at;

-- log_size: How many rows the log holds, and the oldest. Counted up to 10,000; beyond that, as many as PostgreSQL estimates.
with counted as (
  select count(*) as changes
    from (select from omnicdc.change c where c.source is distinct from 0 limit 10000) as first_ones)
select case when n.changes < 10000 then n.changes
            else greatest(n.changes, (select r.reltuples::bigint from pg_catalog.pg_class r
                                       where r.oid = 'omnicdc.change'::pg_catalog.regclass)) end as changes,
       n.changes >= 10000 as estimated,
       (select c.at from omnicdc.change c
         where c.source is distinct from 0 order by c.xid limit 1) as oldest
  from counted n;

-- only_reads: Whether new sessions of this database, or those of a daemon's role, may only read; and whether this is a standby.
select pg_catalog.pg_is_in_recovery() as standby,
       pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool
       or exists (select from pg_catalog.pg_db_role_setting s
                   cross join lateral pg_catalog.unnest(s.setconfig) as it (setting)
                    join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) s.setrole and not r.rolsuper
                    left join pg_catalog.pg_database d on d.oid operator(pg_catalog.=) s.setdatabase
                   where coalesce(d.datname operator(pg_catalog.=) pg_catalog.current_database(), true)
                     and case when it.setting operator(pg_catalog.~~) 'default\_transaction\_read\_only=%%'
                              then pg_catalog.split_part(it.setting, '=', 2)::pg_catalog.bool else false end
                     and pg_catalog.pg_has_role(s.setrole, 'omnicdc_daemon', 'member')) as only_reads;

-- status_consumers: Every consumer, how far behind it is (at most 10,000 changes), and how long each stage of its last batch took.
select c.name, omnicdc.is_alive(c.name) as alive, c.daemon, c.host, c.root, c.version, c.generation,
       c.published_at, c.seen_at, c.started_at, backlog.behind, backlog.lag_s,
       pg_catalog.pg_snapshot_xmin(c.snapshot)::text as snapshot_xmin,
       extract(epoch from c.expiry)::float8 as silent_limit_s,
       extract(epoch from clock_timestamp() - c.seen_at)::float8 as heartbeat_age_s,
       c.registries, c.held, c.unused, c.faults, c.postponed, c.quarantined, c.quarantined_counts, c.last_error, c.last_error_at, c.inputs,
       coalesce(pg_catalog.pg_blocking_pids(omnicdc.consumer_pid(c.name)), '{}') as blocked_by,
       (select h.timings from omnicdc.history h where h.consumer = c.name order by h.id desc limit 1) as stages_ms
  from omnicdc.consumer c
 cross join lateral (
   select count(*) as behind, extract(epoch from clock_timestamp() - min(first_ones.at))::float8 as lag_s
     from (select x.at from omnicdc.changes_since(c.snapshot) x limit 10000) as first_ones) as backlog
 order by c.name;

-- named: The projects of these names; where a name is not known, those that have it as their key.
select p.id::text as id, p.name, p.key from {table} p where p.name = any (%(names)s) or p.key = any (%(names)s);

-- json_columns: The columns of a table, and whether each is of type json or jsonb.
select a.attname::pg_catalog.text as name,
       a.atttypid operator(pg_catalog.=) any ('{json,jsonb}'::pg_catalog.regtype[]) as json
  from pg_catalog.pg_attribute a
 where a.attrelid operator(pg_catalog.=) %(table)s::pg_catalog.regclass::pg_catalog.oid
   and a.attnum operator(pg_catalog.>) 0 and not a.attisdropped;

-- ids: The ids of a table's rows.
select p.id::pg_catalog.text from {table} p;

-- project_facts: Every project, with the columns in which two projects can conflict.
select p.id::pg_catalog.text, p.name::pg_catalog.text, p.key::pg_catalog.text, p.type::pg_catalog.text, p.status::pg_catalog.text,
       p.metadata_ operator(pg_catalog.->>) 'github_url'::pg_catalog.text, p.metadata_ operator(pg_catalog.->>) 'domain'::pg_catalog.text
  from {table} p;

-- quarantined: Every project that a consumer holds back from a registry, and why.
select q.consumer, q.registry, q.source, q.key, q.reason from omnicdc.quarantine q order by q.consumer, q.registry, q.key;

-- check_constraints: Check the deferred constraints now, and not only at COMMIT.
set constraints all immediate;

-- limit_trial: Limit how long a statement may take, and wait for a lock, until the end of the transaction; what was set before.
with earlier as materialized (
  select pg_catalog.current_setting('statement_timeout') as statement, pg_catalog.current_setting('lock_timeout') as lock)
select e.statement, e.lock, pg_catalog.set_config('statement_timeout', %(statement)s, true),
       pg_catalog.set_config('lock_timeout', %(lock)s, true)
  from earlier e;

-- touched: The rows that this transaction has changed so far, as the log names them, grouped by kind of change. keys NULL: every row.
select s.name as source, c.op, c.fields, case when bool_and(c.key is not null) then array_agg(distinct c.key) end as keys, count(*) as rows
  from omnicdc.change c join omnicdc.source s on s.id = c.source
 where c.xid = pg_current_xact_id_if_assigned()
 group by s.name, c.op, c.fields
 order by s.name, min(c.at);

-- count_rows: How many rows a table has.
select pg_catalog.count(*) as rows from {only} {table};

-- holds: The registries that consumers hold now: reason, hint, and whether the guard holds it.
select c.name as consumer, h.key as registry, h.value ->> 'reason' as reason, h.value ->> 'hint' as hint,
       coalesce((h.value ->> 'guard')::boolean, false) as guard
  from omnicdc.consumer c cross join lateral pg_catalog.jsonb_each(c.held) h
 order by c.name, h.key;

-- column_value: Part of project_values: the value of a column.
pg_catalog.to_jsonb(p.{column})::pg_catalog.text;

-- key_value: Part of project_values: the value of a key of a json column; NULL if it has no such key.
(p.{column}::pg_catalog.jsonb operator(pg_catalog.->) {key}::pg_catalog.text)::pg_catalog.text;

-- project_values: The values of some fields of these projects, as JSON.
select p.id::pg_catalog.text, {columns} from {table} p
 where p.id operator(pg_catalog.=) any (%(ids)s::pg_catalog.uuid[]) order by p.id {lock};

-- merged_keys: Part of update_projects: a json column with the keys of `v.keys` removed and set. NULL counts as {{}}.
pg_catalog.jsonb_build_object({name}::pg_catalog.text,
  (coalesce(nullif(p.{column}::pg_catalog.jsonb, 'null'), '{{}}')
   operator(pg_catalog.-) array(select pg_catalog.jsonb_array_elements_text(
                            v.keys operator(pg_catalog.->) {name}::pg_catalog.text operator(pg_catalog.->) 'unset'::pg_catalog.text)))
  operator(pg_catalog.||) (v.keys operator(pg_catalog.->) {name}::pg_catalog.text operator(pg_catalog.->) 'set'::pg_catalog.text));

-- update_projects: Set columns of these projects. `columns`: values; `keys`: which keys of which json columns to set and to remove.
update {table} p set ({names}) = (select {results} from pg_catalog.jsonb_populate_record(p, {values}) r)
  from rows from (pg_catalog.unnest(%(ids)s::pg_catalog.uuid[]), pg_catalog.unnest(%(columns)s::pg_catalog.jsonb[]),
                  pg_catalog.unnest(%(keys)s::pg_catalog.jsonb[])) v (id, columns, keys)
 where p.id operator(pg_catalog.=) v.id;

-- archived_projects: The projects whose metadata has this key, and those of status `archived`.
select p.id::pg_catalog.text as id, p.name::pg_catalog.text as name, p.status::pg_catalog.text as status,
       p.metadata_::pg_catalog.jsonb operator(pg_catalog.->) %(key)s::pg_catalog.text as entry
  from {table} p
 where p.status::pg_catalog.text operator(pg_catalog.=) 'archived'
    or p.metadata_::pg_catalog.jsonb operator(pg_catalog.?) %(key)s::pg_catalog.text
 order by p.name, p.id;

-- changes_of: The last changes of a row that the log still has, the newest first, one row for each consumer: whether its files hold
-- the change, and which generation published it. A change of every row of the source counts. Of the log, the newest `search` rows are read.
-- The writer is read so that it may be missing, as in schemas of 0.1.0.
with newest as (
  select c.ctid, c.xid, c.op, c.fields, c.at, c.key is null as every_row
    from (select l.ctid, l.xid, l.source, l.key, l.op, l.fields, l.at
            from omnicdc.change l
           where l.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
           order by l.xid desc limit %(search)s) c
    join omnicdc.source s on s.id = c.source
   where s.name = any (%(sources)s::text[]) and (c.key = %(key)s or c.key is null)
   order by c.at desc limit %(most)s)
select n.xid::text as token, n.op, n.fields, n.at, n.every_row, k.name as consumer,
       (select pg_catalog.to_jsonb(w) operator(pg_catalog.->) 'writer' from omnicdc.change w where w.ctid = n.ctid) as writer,
       pg_catalog.pg_visible_in_snapshot(n.xid, k.snapshot) as read,
       h.generation, h.at as published_at, h.held, h.postponed
  from newest n
  left join omnicdc.consumer k on true
  left join lateral omnicdc.delivery(k.name, n.xid) as h on true
 order by n.at desc, n.xid desc, k.name;

-- keys_changed_since: The keys of a source's rows that were changed since a time, as far as the log still has the changes.
select distinct c.key
  from omnicdc.change c join omnicdc.source s on s.id = c.source
 where s.name = %(source)s and c.at >= %(at)s and c.key is not null;

-- log_reach: The time of the newest row of the log that is not among the newest `search` rows; no row if the log has no more.
select c.at from omnicdc.change c
 where c.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
 order by c.xid desc offset %(search)s limit 1;

-- log_newest: The newest transactions in the log, one step down the index on xid for each, however many rows they have.
with recursive newest (xid, number) as (
  (select c.xid, 1 from omnicdc.change c
    where c.source is distinct from 0 and c.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
    order by c.xid desc limit 1)
  union all
  select (select c.xid from omnicdc.change c where c.source is distinct from 0 and c.xid < n.xid order by c.xid desc limit 1), n.number + 1
    from newest n where n.xid is not null and n.number < %(most)s)
select n.xid::text as token from newest n where n.xid is not null order by n.xid desc;

-- log_of: The newest transactions that changed a row (or every row) of these sources. Of the log, the newest `search` rows are read.
select c.xid::text as token
  from (select l.xid, l.source, l.key, l.at from omnicdc.change l
         where l.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
         order by l.xid desc limit %(search)s) c
  join omnicdc.source s on s.id = c.source
 where s.name = any (%(sources)s::text[]) and (c.key = %(key)s or c.key is null)
   and (%(since)s::timestamptz is null or c.at >= %(since)s::timestamptz)
 group by c.xid order by c.xid desc limit %(most)s;

-- log_since: The transactions that are visible now and were not visible in a snapshot, and the snapshot of now. Of one row, if there is a key.
with new as (
  select c.xid from omnicdc.changes_since(%(last)s) c
    left join omnicdc.source s on s.id = c.source
   where %(key)s::text is null or (s.name = any (%(sources)s::text[]) and (c.key = %(key)s or c.key is null))
   group by c.xid)
select pg_catalog.pg_current_snapshot()::text as now,
       coalesce((select array_agg(n.xid::text order by n.xid) from new n), '{}') as tokens;

-- log_changes: What these transactions changed: their rows grouped by what they have in common, with the first ten keys of each group.
-- Of each transaction `most` rows are read (of one row of CMP, if there is a key). The writer is read so that it may be missing, as in schemas of 0.1.0.
with row_of as (
  select t.token, t.number, c.source, c.key, c.op, c.fields, c.at, pg_catalog.to_jsonb(c) operator(pg_catalog.->) 'writer' as writer,
         row_number() over (partition by t.token, c.source, c.op, c.fields, pg_catalog.to_jsonb(c) operator(pg_catalog.->) 'writer'
                            order by c.at) as nth
    from pg_catalog.unnest(%(tokens)s::text[]) with ordinality as t (token, number)
   cross join lateral (
     select l.* from omnicdc.change l left join omnicdc.source s on s.id = l.source
      where l.xid = t.token::xid8 and l.source is distinct from 0
        and (%(key)s::text is null or (s.name = any (%(sources)s::text[]) and (l.key = %(key)s or l.key is null)))
      limit %(most)s) c)
select r.token, (select s.name from omnicdc.source s where s.id = r.source) as source, r.op, r.fields, r.writer,
       count(*) as changes, max(r.at) as at, bool_or(r.key is null) as every_row,
       array_remove(array_agg(case when r.nth <= 10 then r.key end), null) as keys
  from row_of r
 group by r.number, r.token, r.source, r.op, r.fields, r.writer
 order by r.number, min(r.at);

-- log_publications: For each of these transactions and each consumer: whether its files hold it, and the generation that published it.
select t.token, k.name as consumer, pg_catalog.pg_visible_in_snapshot(t.token::xid8, k.snapshot) as read,
       h.generation, h.at as published_at, h.timings, h.registries, h.held, h.postponed
  from pg_catalog.unnest(%(tokens)s::text[]) with ordinality as t (token, number)
 cross join omnicdc.consumer k
  left join lateral omnicdc.delivery(k.name, t.token::xid8) as h on true
 where %(consumer)s::text is null or k.name = %(consumer)s
 order by t.number, k.name;

-- log_generations: The newest generations, of one registry or of all. Of the history, the newest `search` rows are read.
select h.consumer, h.generation, h.at as published_at, h.changes, h.registries, h.held, h.postponed, h.timings
  from (select g.* from omnicdc.history g order by g.id desc limit %(search)s) h
 where (%(registry)s::text is null or %(registry)s = any (h.registries))
   and (%(consumer)s::text is null or h.consumer = %(consumer)s)
   and (%(since)s::timestamptz is null or h.at >= %(since)s::timestamptz)
 order by h.id desc limit %(most)s;

-- log_history_end: The newest generation of each consumer.
select k.name as consumer, coalesce((select h.id from omnicdc.history h where h.consumer = k.name order by h.id desc limit 1), 0) as id
  from omnicdc.consumer k;

-- log_new_generations: The generations of each consumer after those of `ids`, at most `most` of each, and the snapshot of each.
select h.id, h.consumer, h.generation, h.at as published_at, h.changes, h.registries, h.held, h.postponed, h.timings, h.snapshot::text as snapshot
  from omnicdc.consumer k
 cross join lateral (
   select g.* from omnicdc.history g
    where g.consumer = k.name
      and g.id > coalesce((select a.id from rows from (pg_catalog.unnest(%(consumers)s::text[]), pg_catalog.unnest(%(ids)s::bigint[]))
                             as a (name, id) where a.name = k.name), 0)
    order by g.id limit %(most)s) h
 where %(consumer)s::text is null or k.name = %(consumer)s
 order by h.at, h.id;

-- log_registries: Every registry that a consumer has, by the name of its file and of its scanner.
select distinct r.registry ->> 'name' as registry, r.registry ->> 'scanner' as scanner
  from omnicdc.consumer c cross join lateral pg_catalog.jsonb_each(c.registries) as r (path, registry) order by 1, 2;

-- names_of: The names of these projects.
select p.id::pg_catalog.text as id, p.name::pg_catalog.text as name from {table} p where p.id operator(pg_catalog.=) any (%(ids)s::pg_catalog.uuid[]);

-- newest_generations: The newest generations of all consumers, the newest first.
select h.id, h.consumer, h.generation, h.changes, h.registries, h.held, h.postponed, h.timings, h.at
  from omnicdc.history h order by h.id desc limit %(most)s;

-- search_projects: The projects whose name or key contains a text, in any case of its letters; those that begin with it first.
select p.id::pg_catalog.text as id, p.name::pg_catalog.text as name, p.key::pg_catalog.text as key
  from {table} p
 where pg_catalog."position"(pg_catalog.lower(p.name::pg_catalog.text), pg_catalog.lower(%(text)s)) operator(pg_catalog.>) 0
    or pg_catalog."position"(pg_catalog.lower(p.key::pg_catalog.text), pg_catalog.lower(%(text)s)) operator(pg_catalog.>) 0
 order by not pg_catalog.starts_with(pg_catalog.lower(p.name::pg_catalog.text), pg_catalog.lower(%(text)s)), p.name, p.id
 limit %(most)s;

-- holds_of: What the consumer of this name holds, if it serves this root.
select c.held from omnicdc.consumer c where c.name = %(consumer)s and c.root = %(root)s;

-- hosts: Every consumer: whether its daemon is alive, how many changes of a row it has not read (of at most `search` that it has not read),
-- and what it holds back of it.
select c.name, c.host, c.root, omnicdc.is_alive(c.name) as alive, c.generation, c.published_at, c.held, c.postponed,
       (select count(*) from (select * from omnicdc.changes_since(c.snapshot) limit %(search)s) x join omnicdc.source s on s.id = x.source
         where s.name = any (%(sources)s::text[]) and (x.key = %(key)s or x.key is null)) as unread,
       coalesce((select jsonb_object_agg(q.registry, q.reason) from omnicdc.quarantine q
                  where q.consumer = c.name and q.source = any (%(sources)s::text[]) and q.key = %(key)s), '{}') as quarantined
  from omnicdc.consumer c
 order by c.name;

-- transaction_status: How a transaction ended: committed, aborted or in progress; NULL if that is no longer known.
select pg_catalog.pg_xact_status(%(token)s::pg_catalog.xid8) as status;

-- functions: Which of these functions PostgreSQL has, and whether the result of each may change while its arguments do not:
-- i never, s from one statement to the next, v always; the worst of all functions of that name.
select p.proname::text as name, max(p.provolatile::text) as volatility
  from pg_catalog.pg_proc p
 where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (%(names)s::pg_catalog.text[]::pg_catalog.name[])
 group by p.proname;

-- server_parameters: Parameters of the server, for a bug report: those that omnicdc depends on, and those that were set here.
-- Parameters of connections to other servers, of files and of commands are left out: their values can be secret.
select s.name, s.setting, s.source
  from pg_catalog.pg_settings s
 where (s.name = any ('{server_version, max_connections, max_locks_per_transaction, max_prepared_transactions, wal_level, fsync,
                        synchronous_commit, statement_timeout, lock_timeout, idle_in_transaction_session_timeout, idle_session_timeout,
                        default_transaction_isolation, default_transaction_read_only, row_security, server_encoding, TimeZone}')
        or s.source not in ('default', 'override', 'client', 'session', 'environment variable'))
   and s.name not like '%%conninfo%%' and s.name not like '%%command%%' and s.name not like '%%ssl%%' and s.name not like '%%passw%%'
   and s.name not like '%%.%%'
 order by s.name;

-- installed_functions: The functions in omnicdc's schema, as they are now.
select p.proname as name, r.rolname as owner, p.prosecdef as definer, p.proconfig::text as settings, p.proacl::text as access,
       p.prosrc as body
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  left join pg_catalog.pg_roles r on r.oid = p.proowner
 where n.nspname = 'omnicdc'
 order by p.proname, p.oid;

-- installed_triggers: The triggers that call a function in omnicdc's schema.
select t.tgname as name, t.tgrelid::regclass::text as target, t.tgenabled as enabled, t.tgtype as type, p.proname as function
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_proc p on p.oid = t.tgfoid
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where n.nspname = 'omnicdc' and not t.tgisinternal
 order by t.tgrelid, t.tgname;

-- asking_role: Which role asks, and which of omnicdc's roles it is a member of. A superuser has every right.
select r.rolname::text as name, r.rolsuper as superuser, to_regrole('omnicdc_client') is not null as roles_exist,
       coalesce(pg_has_role(to_regrole('omnicdc_daemon')::oid, 'member'), false) as daemon,
       coalesce(pg_has_role(to_regrole('omnicdc_client')::oid, 'member'), false) as client,
       coalesce(pg_has_role(to_regrole('omnicdc_daemon')::oid, 'usage'), false)
         or coalesce(pg_has_role(to_regrole('omnicdc_client')::oid, 'usage'), false) as inherits,
       coalesce(pg_has_role(to_regrole('omnicdc_owner')::oid, 'member'), false) as owner,
       r.rolsuper or r.rolcreaterole or coalesce(pg_has_role(to_regrole('omnicdc_owner')::oid, 'member'), false) as installs
  from pg_roles r where r.rolname = current_user;

-- lacking_rights: Which of these rights these roles lack. `kinds` are schema, table and function; a function is given by its name alone.
select w.role, w.kind, w.name, w.privilege
  from rows from (unnest(%(roles)s::text[]), unnest(%(kinds)s::text[]), unnest(%(names)s::text[]), unnest(%(privileges)s::text[]))
       as w (role, kind, name, privilege)
  left join pg_roles r on r.rolname = w.role
  left join pg_namespace n on n.nspname = 'omnicdc'
 where not coalesce(
         case w.kind
           when 'schema' then has_schema_privilege(r.oid, n.oid, w.privilege)
           when 'table' then (select has_table_privilege(r.oid, c.oid, w.privilege)
                                from pg_class c where c.relnamespace = n.oid and c.relname = w.name)
           else (select bool_and(has_function_privilege(r.oid, p.oid, w.privilege))
                   from pg_proc p where p.pronamespace = n.oid and p.proname = w.name) end, false)
 order by w.role, w.kind desc, w.name, w.privilege;

-- unreadable_columns: Which watched columns the asking role may not read, by source.
select s.name as source, s.target, array_agg(a.attname::text order by a.attnum) as columns
  from omnicdc.source s
 cross join parse_ident(s.target) as part
  join pg_namespace n on n.nspname = part[1]
  join pg_class c on c.relnamespace = n.oid and c.relname = part[2]
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where a.attname in (select split_part(item, '.', 1) from unnest(s.watched || s.key_column) as item)
   and not (has_schema_privilege(n.oid, 'usage') and has_column_privilege(c.oid, a.attnum, 'select'))
 group by s.id order by s.id;

-- daemon_roles: The roles that a daemon can log in as.
select r.rolname::text as name, r.rolconnlimit as connections, r.rolvaliduntil < clock_timestamp() as expired,
       nullif(r.rolvaliduntil, 'infinity') as valid_until
  from pg_roles r
 where r.rolcanlogin and not r.rolsuper and pg_has_role(r.oid, to_regrole('omnicdc_daemon')::oid, 'member')
 order by 1;

-- connection_room: How many connections the server, the database and the asking role have left; NULL without a limit.
with connected as (select a.datname, a.usename from pg_stat_activity a where a.backend_type = 'client backend')
select current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
       - coalesce(current_setting('reserved_connections', true), '0')::integer - (select count(*) from connected) as server,
       (select d.datconnlimit - (select count(*) from connected c where c.datname = d.datname)
          from pg_database d where d.datname = current_database() and d.datconnlimit >= 0) as database,
       (select r.rolconnlimit - (select count(*) from connected c where c.usename = r.rolname)
          from pg_roles r where r.rolname = current_user and r.rolconnlimit >= 0) as role,
       current_database()::text as database_name;

-- relied_on_parameters: What of the server's settings matters to omnicdc, and what the log's table says of its vacuum.
select current_setting('server_version') as version, current_setting('server_version_num')::integer as number,
       -- Of the role, the database or the DSN: this session may have set one of its own.
       (select s.reset_val::bigint from pg_settings s where s.name = 'statement_timeout') as statement_timeout_ms,
       current_setting('autovacuum')::boolean as autovacuum,
       current_setting('track_counts')::boolean as track_counts,
       (select c.reloptions from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'omnicdc' and c.relname = 'change') as log_options;

-- queue_usage: How full the queue of notifications is, 0 to 1.
select pg_notification_queue_usage() as usage;

-- knock: Notify the session that checks whether notifications arrive. Nothing else listens on this channel.
select pg_notify('omnicdc_doctor', '');

-- fingerprints: Whether each consumer has read everything since the last change of the capture.
select c.name, omnicdc.is_alive(c.name) as alive, coalesce(c.capture_fingerprint = omnicdc.capture_fingerprint(), false) as verified
  from omnicdc.consumer c order by c.name;

-- dead_rows: How many rows of the log are live and dead, as PostgreSQL estimates.
select s.n_live_tup as live, s.n_dead_tup as dead from pg_stat_user_tables s where s.schemaname = 'omnicdc' and s.relname = 'change';

-- old_snapshots: What keeps PostgreSQL from removing dead rows of this database, the oldest first. `seconds` is NULL if the role may not see it.
select h.kind, h.name, h.role, h.program, h.state, extract(epoch from clock_timestamp() - h.since)::float8 as seconds, h.since
  from (select 'session' as kind, a.pid::text as name, a.usename::text as role, a.application_name as program, a.state, a.xact_start as since
          from pg_stat_activity a
         where a.datname = current_database() and a.pid <> pg_backend_pid() and (a.backend_xmin is not null or a.backend_xid is not null)
           and coalesce(a.backend_type, 'client backend') = 'client backend'
        union all
        select 'prepared', p.gid, p.owner::text, null, null, p.prepared from pg_prepared_xacts p where p.database = current_database()
        union all
        select 'slot', s.slot_name::text, null, null, case when s.active then 'active' else 'not used' end, null
          from pg_replication_slots s where s.xmin is not null
        union all
        select 'standby', coalesce(r.client_addr::text, r.pid::text), r.usename::text, r.application_name, r.state, null
          from pg_stat_replication r where r.backend_xmin is not null) as h
 order by h.since nulls last, h.name;

-- clock: The server's clock.
select clock_timestamp() as now;

-- schema_is_ours: Whether schema omnicdc exists and belongs to omnicdc's own role.
select exists (select from pg_namespace n where n.nspname = 'omnicdc' and n.nspowner = to_regrole('omnicdc_owner')::oid) as ours;

-- table_locks: Which sessions hold a lock that keeps even readers from these tables or from omnicdc's, the oldest first.
select l.pid, format('%%I.%%I', n.nspname, c.relname) as "table", a.usename::text as role, a.application_name as program, a.state, a.xact_start as since,
       extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds
  from pg_locks l
  join pg_class c on c.oid = l.relation
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_stat_activity a on a.pid = l.pid
 where l.granted and l.mode = 'AccessExclusiveLock' and l.pid <> pg_backend_pid()
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
   and (n.nspname = 'omnicdc' or format('%%I.%%I', n.nspname, c.relname) = any (%(tables)s::text[]))
 order by a.xact_start nulls last, l.pid, 2;

-- limit_lock_wait: Limit for this session how long a statement waits for a lock.
select set_config('lock_timeout', %(limit)s, false);
