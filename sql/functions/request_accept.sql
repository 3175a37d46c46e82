-- omnicdc.request_accept(): asks every consumer, through the log, to publish once what its guard holds back.
--
-- Result: the transaction to wait for.   Tables written: omnicdc.change.   Repeat: harmless.
create or replace function omnicdc.request_accept() returns xid8
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $request$
begin
  insert into omnicdc.change (op) values ('accept');
  perform omnicdc.notify_consumers();
  return pg_current_xact_id();
end
$request$;
revoke all on function omnicdc.request_accept() from public;
grant execute on function omnicdc.request_accept() to omnicdc_daemon;
