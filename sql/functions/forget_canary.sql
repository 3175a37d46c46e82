-- omnicdc.forget_canary(token): deletes a canary from the log.
--
-- token: what omnicdc.release_canary() returned.   Tables written: omnicdc.change.   Repeat: harmless.
create or replace function omnicdc.forget_canary(token xid8) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp set row_security = on
as $forget$
  delete from omnicdc.change c where c.xid = token and c.source = 0
$forget$;
revoke all on function omnicdc.forget_canary(xid8) from public;
grant execute on function omnicdc.forget_canary(xid8) to omnicdc_daemon;
