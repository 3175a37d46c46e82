-- omnicdc.request_rebuild(): asks every consumer, through the log, to scan everything and publish what differs.
--
-- Result: the transaction to wait for.   Tables written: omnicdc.change.   Repeat: harmless.
create or replace function omnicdc.request_rebuild() returns xid8
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $request$
begin
  insert into omnicdc.change (op) values ('rebuild');
  perform omnicdc.notify_consumers();
  return pg_current_xact_id();
end
$request$;
revoke all on function omnicdc.request_rebuild() from public;
grant execute on function omnicdc.request_rebuild() to omnicdc_daemon, omnicdc_client;
