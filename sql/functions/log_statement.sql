-- omnicdc.log_statement(): trigger function for TRUNCATE, after each statement; it logs every row of the source that is its argument.
--
-- Tables written: omnicdc.change.
create or replace function omnicdc.log_statement() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $log$
declare
  expression text;
  writer text[];
begin
  -- It is the same function for every choice of the operator, so it asks for that choice. A truncate is rare.
  begin
    expression := omnicdc.current_writer();
    if expression is not null then
      execute 'select ' || expression into writer;
    end if;
  exception when others then
    null;  -- logged without its writer
  end;
  -- Always by this function, which costs a subtransaction.
  perform omnicdc.log_with_writer_if_allowed(tg_argv[0]::smallint, array[null]::text[], lower(tg_op collate "C"), null, writer);
  perform omnicdc.notify_consumers();
  return null;
end
$log$;
revoke all on function omnicdc.log_statement() from public;
