-- omnicdc.forget_other_cluster(): forgets what came with a dump of another cluster, whose transaction ids mean nothing here.
--
-- A row of the log, of the history or a mark of the pruning from there would sooner or later be taken for one of a
-- transaction of here. A consumer's row tells where it was written; nothing tells the log's rows apart, so all go, and
-- everybody is asked to scan everything.
-- Result: whether there was any.   Repeat: harmless.
-- Tables written: omnicdc.change, omnicdc.consumer, omnicdc.history, omnicdc.watch.
create or replace function omnicdc.forget_other_cluster() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $forget$
declare
  here bigint := (select i.system_identifier from omnicdc.identity() i);
begin
  if not exists (select from omnicdc.consumer c where c.system_identifier <> here) then
    return false;
  end if;
  -- By name: while a restore is under way, the history has no foreign key yet, and would not get it any more.
  delete from omnicdc.history h
   where h.consumer in (select c.name from omnicdc.consumer c where c.system_identifier <> here);
  delete from omnicdc.consumer c where c.system_identifier <> here;
  delete from omnicdc.change;
  update omnicdc.watch set pruned_below = pg_snapshot_xmax(pg_current_snapshot());
  insert into omnicdc.change (op) values ('rebuild');
  return true;
end
$forget$;
revoke all on function omnicdc.forget_other_cluster() from public;
grant execute on function omnicdc.forget_other_cluster() to omnicdc_daemon;
