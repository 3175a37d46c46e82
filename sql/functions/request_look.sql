-- omnicdc.request_look(): asks every consumer, through the log, to read its inputs again: clones, heart and GitHub.
--
-- Result: the transaction to wait for.   Tables written: omnicdc.change.   Repeat: harmless.
create or replace function omnicdc.request_look() returns xid8
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $request$
begin
  insert into omnicdc.change (op) values ('look');
  perform omnicdc.notify_consumers();
  return pg_current_xact_id();
end
$request$;
revoke all on function omnicdc.request_look() from public;
grant execute on function omnicdc.request_look() to omnicdc_daemon, omnicdc_client;
