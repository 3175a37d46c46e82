-- omnicdc.notified(): whether this transaction has notified the consumers already.
--
-- One expression without settings of its own, so that PostgreSQL inlines it. Call it from functions that pin their search_path.
-- Tables written: none.   Repeat: harmless.
create or replace function omnicdc.notified() returns boolean
language sql volatile
as $notified$
  select coalesce(pg_catalog.current_setting('omnicdc.notified', true) operator(pg_catalog.=) pg_catalog.pg_current_xact_id()::text, false)
$notified$;
revoke all on function omnicdc.notified() from public;
