-- Additive: a program that does not know these tables and the column goes on as before. So it is recorded in omnicdc.addition and not in
-- omnicdc.migration, because omnicdc 0.1.0 accepts exactly the version that it knows there.
--   omnicdc.addition       which numbered files of sql/migrations were applied that older programs need not know
--   omnicdc.setting        what the operator chose at an install, for the installs that follow
--   omnicdc.change.writer  who wrote the change

create table omnicdc.addition (
  revision integer primary key,
  name text not null,
  applied_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.addition is
  'Which numbered files of sql/migrations were applied that older versions of omnicdc need not know. The others are in omnicdc.migration.';

create table omnicdc.setting (
  name text primary key,
  value text not null,
  changed_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.setting is
  'What the operator chose at an install, for the installs that follow. record_writers: on or off (a missing row means off).';

-- One column and not three: with nine columns, the bitmap of NULLs would make every row of the log eight bytes longer, also where writers
-- are not recorded. An array and not jsonb: no function is called that could be revoked, and it costs the writer less.
alter table omnicdc.change add column writer text[];
comment on column omnicdc.change.writer is
  'Who wrote it: role, application_name, traceparent. NULL if writers were not recorded; an element is NULL if it was not set.';
