-- omnicdc.has_rung(): whether this transaction has rung the doorbell.
--
-- One expression without settings of its own, so that PostgreSQL puts it in the place of its call. For functions
-- that pin their search_path.   Tables written: none.   Repeat: harmless.
create or replace function omnicdc.has_rung() returns boolean
language sql volatile
as $rung$
  select coalesce(pg_catalog.current_setting('omnicdc.rung', true) operator(pg_catalog.=) pg_catalog.pg_current_xact_id()::text, false)
$rung$;
revoke all on function omnicdc.has_rung() from public;
