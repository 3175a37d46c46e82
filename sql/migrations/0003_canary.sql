-- The canary: a change of nothing, which a daemon sends itself to see that changes still arrive.
create table omnicdc.canary (
  id uuid not null,
  xid xid8 not null default pg_catalog.pg_current_xact_id()
);
comment on table omnicdc.canary is 'Always empty: a row is noted in the log as one of CMP''s table is, and deleted in the same transaction.';
