-- Other people's publications; retention that reads no more than it deletes; consumers that leave.

-- Else PostgreSQL refuses to delete the canary where a publication carries it: it has no primary key.
alter table omnicdc.canary replica identity full;

create table omnicdc.allowed_publication (
  name text primary key,
  allowed_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.allowed_publication is 'Publications that may carry omnicdc''s tables, as `omnicdc install --allow-publication` was told.';
