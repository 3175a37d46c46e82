-- omnicdc.release_canary(): sends a test change (a canary) through the log: source 0, written by the trigger function that CMP's table has.
--
-- If the daemon is notified of it, finds it in the log and acknowledges it, the whole path works. omnicdc.changes_since() leaves it out.
--
-- Result: the transaction to look for.   Tables written: omnicdc.canary (and emptied), omnicdc.change.   Repeat: sends another one.
create or replace function omnicdc.release_canary() returns xid8
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $release$
begin
  insert into omnicdc.canary (id) values ('00000000-0000-0000-0000-000000000000');
  delete from omnicdc.canary where xid = pg_current_xact_id();
  return pg_current_xact_id();
end
$release$;
revoke all on function omnicdc.release_canary() from public;
grant execute on function omnicdc.release_canary() to omnicdc_daemon;

select omnicdc.create_trigger_function('log_row_0', omnicdc.log_row_text(0::smallint, 'id', 'uuid'));
create or replace trigger omnicdc_log_row after insert on omnicdc.canary for each row execute function omnicdc.log_row_0();
alter table omnicdc.canary enable always trigger omnicdc_log_row;
-- Also in the migration. Here again, so that every install restores it.
alter table omnicdc.canary replica identity full;
