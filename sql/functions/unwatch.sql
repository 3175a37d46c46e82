-- omnicdc.unwatch(target): removes the triggers from a table, and the right to read it from the daemon and the clients.
--
-- The table's rows, and omnicdc's log, stay. The right to use the table's schema stays as long as another source is in it.
-- Result: nothing.   Tables written: none.   Repeat: harmless.   Locks the table for an instant: set lock_timeout.
create or replace function omnicdc.unwatch(target regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $unwatch$
declare
  relation regclass;
  schema_oid oid := (select c.relnamespace from pg_class c where c.oid = target);
begin
  -- First the table, as writers do: DROP TRIGGER alone would lock the partitions before their table.
  execute format('lock table %s in access exclusive mode', target);
  execute format('drop trigger if exists omnicdc_log_row on %s', target);
  execute format('drop trigger if exists omnicdc_log_update on %s', target);
  for relation in select target union select t.relid from pg_partition_tree(target) t loop
    execute format('drop trigger if exists omnicdc_log_truncate on %s', relation);
  end loop;
  execute format('revoke select on %s from omnicdc_daemon, omnicdc_client', target);
  if not exists (select from omnicdc.watched_relations() r join pg_class c on c.oid = r.relation
                  where c.relnamespace = schema_oid and r.relation <> target) then
    execute format('revoke usage on schema %s from omnicdc_daemon, omnicdc_client', schema_oid::regnamespace);
  end if;
end
$unwatch$;
revoke all on function omnicdc.unwatch(regclass) from public;
