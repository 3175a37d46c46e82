-- Tables of omnicdc:
--   omnicdc.migration  which numbered files of sql/migrations have been applied
--   omnicdc.watch      what is captured: one row
--   omnicdc.change     the log: which projects to look at
--   omnicdc.consumer   where each registry host stands
--   omnicdc.history    what each acknowledged batch did

create table omnicdc.migration (
  version integer primary key,
  name text not null,
  applied_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.migration is 'Which numbered files of sql/migrations have been applied.';

create table omnicdc.watch (
  only_row boolean primary key default true,
  target text not null,
  watched text[] not null,
  source_hash text not null,
  pruned_below xid8 not null default '0',
  installed_at timestamptz not null default pg_catalog.clock_timestamp(),
  constraint there_is_one_row check (only_row)
);
comment on table omnicdc.watch is 'What is captured. The table is kept by name, so that it survives being dropped and created again.';
comment on column omnicdc.watch.watched is 'Columns, or column.key for a key of a json column.';
comment on column omnicdc.watch.source_hash is 'md5 of the generated trigger function: an edited one is noticed.';
comment on column omnicdc.watch.pruned_below is 'Rows of the log below this transaction have been deleted.';

-- No primary key: rows are only appended, read by xid, and deleted by xid.
create table omnicdc.change (
  xid xid8 not null default pg_catalog.pg_current_xact_id(),
  project_id uuid,
  op text not null,
  fields text[],
  at timestamptz not null default pg_catalog.clock_timestamp(),
  constraint op_is_known check (op in ('insert', 'update', 'delete', 'truncate', 'rebuild', 'accept')),
  constraint fields_belong_to_an_update check (fields is null or op = 'update')
);
-- Else PostgreSQL would refuse to delete from it where CMP has a publication of all tables.
alter table omnicdc.change replica identity full;
create index change_xid_idx on omnicdc.change (xid);
-- For retention; a BRIN index costs writers next to nothing.
create index change_at_idx on omnicdc.change using brin (at);
comment on table omnicdc.change is 'The log. It names which projects to look at; their content is read fresh.';
comment on column omnicdc.change.project_id is 'NULL: every project (truncate, rebuild, or the id column is gone). For accept: nobody.';
comment on column omnicdc.change.fields is 'The watched columns that changed. NULL: the whole row.';
comment on column omnicdc.change.at is 'When the row was written, not when it was committed.';

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
  constraint generations_count_up check (generation >= 0)
);
comment on table omnicdc.consumer is 'Where each registry host stands. Written only after its files are durable.';
comment on column omnicdc.consumer.snapshot is 'The transactions that its files hold, those of held registries and quarantined projects aside.';
comment on column omnicdc.consumer.system_identifier is 'Snapshots mean something in one cluster and timeline only.';
comment on column omnicdc.consumer.registries is 'Registry to its count, size and stamp.';
comment on column omnicdc.consumer.held is 'Registry to reason, hint and the snapshot that its file still shows.';
comment on column omnicdc.consumer.quarantined is 'Registry to project id to reason.';
comment on column omnicdc.consumer.accepted is 'The last accept that was carried out.';

create table omnicdc.history (
  id bigint generated always as identity primary key,
  consumer text not null references omnicdc.consumer (name) on delete cascade,
  generation bigint not null,
  snapshot pg_snapshot not null,
  changes integer not null,
  registries text[] not null,
  held text[] not null default '{}',
  stages jsonb not null default '{}',
  at timestamptz not null default pg_catalog.clock_timestamp()
);
create index history_consumer_idx on omnicdc.history (consumer, id);
comment on table omnicdc.history is 'One row for each acknowledged batch: what was rewritten, what was held back, where the time went.';

grant usage on schema omnicdc to omnicdc_daemon, omnicdc_client;
grant select on omnicdc.migration, omnicdc.watch, omnicdc.change, omnicdc.consumer, omnicdc.history
  to omnicdc_daemon, omnicdc_client;
grant insert, update on omnicdc.consumer to omnicdc_daemon;
grant insert on omnicdc.history to omnicdc_daemon;
