-- omnicdc.release_canary(): has the trigger function of CMP's table note a row that concerns nobody, and ring for it.
--
-- A daemon that hears of it, finds it in the log and acknowledges it knows that all this works. omnicdc.unread() hides it.
--
-- Result: the transaction to look for.   Tables written: omnicdc.canary (and emptied), omnicdc.change.   Repeat: another one.
create or replace function omnicdc.release_canary() returns xid8
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $release$
begin
  insert into omnicdc.canary (id) values (omnicdc.canary_id());
  delete from omnicdc.canary where xid = pg_current_xact_id();
  return pg_current_xact_id();
end
$release$;
revoke all on function omnicdc.release_canary() from public;
grant execute on function omnicdc.release_canary() to omnicdc_daemon;

create or replace trigger omnicdc_note_row after insert on omnicdc.canary for each row execute function omnicdc.note_row();
alter table omnicdc.canary enable always trigger omnicdc_note_row;
-- Here as well as in a migration: whoever took it away, an install gives it back.
alter table omnicdc.canary replica identity full;
