-- omnicdc.forget_other_cluster(): deletes what came with a dump of another cluster, whose transaction ids are not valid here.
--
-- A row of the log or of the history, or pruned_below, would sooner or later be matched with a transaction of this cluster.
-- A consumer's row names the cluster that wrote it. A row of the log does not, so all of them are deleted, and
-- every consumer is asked to scan everything.
-- Result: whether there was any.   Repeat: harmless.
-- Tables written: omnicdc.change, omnicdc.consumer, omnicdc.history, omnicdc.source.
create or replace function omnicdc.forget_other_cluster() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $forget$
declare
  here bigint := (select i.system_identifier from omnicdc.identity() i);
begin
  if not exists (select from omnicdc.consumer c where c.system_identifier <> here) then
    return false;
  end if;
  -- Not left to the foreign key: while a restore is running it does not exist yet, and rows without a consumer would prevent it.
  delete from omnicdc.history h
   where h.consumer in (select c.name from omnicdc.consumer c where c.system_identifier <> here);
  delete from omnicdc.consumer c where c.system_identifier <> here;
  delete from omnicdc.change;
  update omnicdc.source set pruned_below = pg_snapshot_xmax(pg_current_snapshot());
  insert into omnicdc.change (op) values ('rebuild');
  return true;
end
$forget$;
revoke all on function omnicdc.forget_other_cluster() from public;
grant execute on function omnicdc.forget_other_cluster() to omnicdc_daemon;
