-- omnicdc.unwatch(target): removes the triggers from a table. Its rows, and omnicdc's log, stay.
--
-- Result: nothing.   Tables written: none.   Repeat: harmless.   Locks the table for an instant: set lock_timeout.
create or replace function omnicdc.unwatch(target regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $unwatch$
begin
  execute format('drop trigger if exists omnicdc_note_row on %s', target);
  execute format('drop trigger if exists omnicdc_note_update on %s', target);
  execute format('drop trigger if exists omnicdc_note_truncate on %s', target);
end
$unwatch$;
revoke all on function omnicdc.unwatch(regclass) from public;
