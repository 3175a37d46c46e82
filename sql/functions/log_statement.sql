-- omnicdc.log_statement(): trigger function for TRUNCATE, after each statement; it logs every row of the source that is its argument.
--
-- Tables written: omnicdc.change.
create or replace function omnicdc.log_statement() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $log$
begin
  -- Always by this function, which costs a subtransaction: a truncate is rare.
  perform omnicdc.log_if_allowed(tg_argv[0]::smallint, array[null]::text[], lower(tg_op collate "C"), null);
  perform omnicdc.notify_consumers();
  return null;
end
$log$;
revoke all on function omnicdc.log_statement() from public;
