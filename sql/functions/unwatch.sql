-- omnicdc.unwatch(target): removes the triggers from a table, and the right to read it from the daemon and the clients.
--
-- The table's rows, and omnicdc's log, stay.
-- Result: nothing.   Tables written: none.   Repeat: harmless.   Locks the table for an instant: set lock_timeout.
create or replace function omnicdc.unwatch(target regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $unwatch$
declare
  relation regclass;
begin
  -- First the table, as writers do: DROP TRIGGER alone would lock the partitions before their table.
  execute format('lock table %s in access exclusive mode', target);
  execute format('drop trigger if exists omnicdc_log_row on %s', target);
  execute format('drop trigger if exists omnicdc_log_update on %s', target);
  for relation in select target union select t.relid from pg_partition_tree(target) t loop
    execute format('drop trigger if exists omnicdc_log_truncate on %s', relation);
  end loop;
  execute format('revoke select on %s from omnicdc_daemon, omnicdc_client', target);
  execute format('revoke usage on schema %I from omnicdc_daemon, omnicdc_client',
                 (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target));
end
$unwatch$;
revoke all on function omnicdc.unwatch(regclass) from public;
