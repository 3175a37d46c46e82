-- Tables of omnicdc:
--   omnicdc.migration            which numbered files of sql/migrations were applied
--   omnicdc.source               the watched tables; one row each
--   omnicdc.change               the log: which rows of a source to look at
--   omnicdc.canary               always empty: the daemon sends a test change through it
--   omnicdc.consumer             the state of each registry host
--   omnicdc.history              one row for each acknowledged batch
--   omnicdc.quarantine           the projects that a consumer holds back
--   omnicdc.allowed_publication  the publications that may carry these tables
-- Rights are in sql/grants.sql, row policies in sql/policies.sql.

create table omnicdc.migration (
  version integer primary key,
  name text not null,
  applied_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.migration is 'Which numbered files of sql/migrations were applied.';

create table omnicdc.source (
  id smallint primary key,
  name text not null unique,
  target text not null,
  key_column text,
  key_type text,
  watched text[] not null,
  required boolean not null,
  source_hash text not null,
  pruned_below xid8 not null default '0',
  installed_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.source is 'The watched tables, one row each.';
comment on column omnicdc.source.id is 'The number in omnicdc.change.source. 0 is not used here: it marks a canary.';
comment on column omnicdc.source.target is 'SCHEMA.TABLE. The name and not the oid, so that it stays valid when the table is dropped and created again.';
comment on column omnicdc.source.name is 'The name by which registries read the table.';
comment on column omnicdc.source.key_column is 'The column whose value is logged as omnicdc.change.key; NULL if none is: then each change is logged as a change of every row.';
comment on column omnicdc.source.key_type is 'uuid, integer or text; NULL without a key column.';
comment on column omnicdc.source.watched is 'Columns, or column.key for a key of a json column.';
comment on column omnicdc.source.required is 'Whether the capture is broken if the table is dropped; otherwise only the registries that read it are held.';
comment on column omnicdc.source.source_hash is 'SHA-256 of the source code of the generated log_row_ID() and log_update_ID(), to detect a manual edit.';
comment on column omnicdc.source.pruned_below is 'Rows of the log below this transaction were deleted.';

-- No primary key: rows are only appended, read by xid, and deleted by xid. No CHECK constraints: PostgreSQL parses and prepares
-- them again in each statement that writes a row, and only omnicdc's functions write here.
create table omnicdc.change (
  xid xid8 not null default pg_catalog.pg_current_xact_id(),
  source smallint,
  key text,
  op text not null,
  fields text[],
  at timestamptz not null default pg_catalog.clock_timestamp()
);
-- Without it, PostgreSQL refuses to delete from this table where CMP has a publication of all tables.
alter table omnicdc.change replica identity full;
-- Retention walks this index, too. There is no index on `at`: it would cost each writer, and retention does not need it.
create index change_xid_idx on omnicdc.change (xid);
comment on table omnicdc.change is 'The log. It names which rows of a source to look at; their content is read fresh.';
comment on column omnicdc.change.source is 'omnicdc.source.id; 0 for a canary; NULL for a request, which concerns all sources.';
comment on column omnicdc.change.key is 'The row''s key as text. NULL: every row of the source (truncate, a request, or the key could not be read).';
comment on column omnicdc.change.op is 'insert, update, delete, truncate, rebuild, accept or look.';
comment on column omnicdc.change.fields is 'The watched columns that an update changed. NULL: the whole row.';
comment on column omnicdc.change.at is 'When the row was written, not when it was committed.';

create table omnicdc.canary (
  id uuid not null,
  xid xid8 not null default pg_catalog.pg_current_xact_id()
);
-- Without it, PostgreSQL refuses to delete the canary where a publication carries this table: it has no primary key.
alter table omnicdc.canary replica identity full;
comment on table omnicdc.canary is
  'Always empty. A row is inserted and deleted in one transaction; the trigger logs it as it logs a row of CMP''s table.';

create table omnicdc.consumer (
  name text primary key,
  snapshot pg_snapshot not null,
  system_identifier bigint not null,
  timeline integer not null,
  generation bigint not null,
  registries jsonb not null default '{}',
  held jsonb not null default '{}',
  quarantined jsonb not null default '{}',
  accepted xid8,
  host text not null,
  root text not null,
  version text not null,
  last_error text,
  last_error_at timestamptz,
  started_at timestamptz not null default pg_catalog.clock_timestamp(),
  published_at timestamptz,
  seen_at timestamptz not null default pg_catalog.clock_timestamp(),
  backend integer,
  relation_identity text,
  capture_fingerprint text,
  daemon boolean not null default true,
  expiry interval,
  quarantined_counts jsonb not null default '{}',
  unused jsonb not null default '{}',
  faults jsonb not null default '[]',
  postponed jsonb not null default '{}',
  inputs jsonb,
  history_pruned boolean not null default false,
  constraint generations_count_up check (generation >= 0)
);
comment on table omnicdc.consumer is 'The state of each registry host. Written only after its files are durable.';
comment on column omnicdc.consumer.snapshot is 'The transactions that its files hold, except in held registries and for quarantined projects.';
comment on column omnicdc.consumer.system_identifier is 'A snapshot is valid in one cluster and timeline only.';
comment on column omnicdc.consumer.registries is 'Registry to its count, size and stamp.';
comment on column omnicdc.consumer.held is 'Registry to reason, hint and the snapshot that its file still shows.';
comment on column omnicdc.consumer.quarantined is 'Registry to project id to reason: the first hundred of each. All are in omnicdc.quarantine.';
comment on column omnicdc.consumer.quarantined_counts is 'Registry to the number of its projects that are held back.';
comment on column omnicdc.consumer.unused is 'Registry to reason and hint, for each that is not published because CMP lacks a table that it reads.';
comment on column omnicdc.consumer.faults is 'Faults that hold no registry: commands after publications that fail, plug-ins that cannot be loaded.';
comment on column omnicdc.consumer.postponed is 'Registry to the snapshot that its file still shows, for each whose changes wait for a full scan or a check.';
comment on column omnicdc.consumer.accepted is 'The last accept request that was carried out.';
comment on column omnicdc.consumer.backend is 'The server process that wrote the row. The row is trusted only while that process holds the consumer''s lock.';
comment on column omnicdc.consumer.relation_identity is
  'omnicdc.relation_identity() when it was written: which tables the files were compared with. After a restore or a new table it differs.';
comment on column omnicdc.consumer.capture_fingerprint is
  'omnicdc.capture_fingerprint() when everything was last read. If it differs now, the capture may have missed changes since.';
comment on column omnicdc.consumer.daemon is 'Whether a daemon serves it. False after `run --once`: then it does not keep rows of the log.';
comment on column omnicdc.consumer.expiry is
  'From its configuration: a consumer not seen for longer keeps no rows of the log, and is forgotten.';
comment on column omnicdc.consumer.inputs is
  'The state of its inputs (clones, GitHub, overrides, exclusions): state (current or looking), waiting_for, faults, fault_count, notices, notice_count.';
comment on column omnicdc.consumer.history_pruned is
  'Whether generations of it were deleted: then its oldest generation is not taken for the first one that showed a transaction.';

create table omnicdc.history (
  id bigint generated always as identity primary key,
  consumer text not null references omnicdc.consumer (name) on delete cascade,
  generation bigint not null,
  snapshot pg_snapshot not null,
  changes integer not null,
  registries text[] not null,
  held text[] not null default '{}',
  postponed text[] not null default '{}',
  timings jsonb not null default '{}',
  at timestamptz not null default pg_catalog.clock_timestamp()
);
create index history_consumer_idx on omnicdc.history (consumer, id);
create index history_at_idx on omnicdc.history (at);
comment on table omnicdc.history is 'One row for each acknowledged batch: what was rewritten, what was held back, how long each stage took.';

create table omnicdc.quarantine (
  consumer text not null references omnicdc.consumer (name) on delete cascade,
  registry text not null,
  source text not null,
  key text not null,
  reason text not null,
  joined text[] not null default '{}',
  primary key (consumer, registry, key)
);
comment on table omnicdc.quarantine is 'Every project that a consumer holds back from a registry. A batch writes only what changed.';

create table omnicdc.allowed_publication (
  name text primary key,
  allowed_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.allowed_publication is 'The publications named by `omnicdc install --allow-publication`: they may carry omnicdc''s tables.';
