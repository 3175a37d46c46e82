-- omnicdc.prune(history, silent): deletes what no live consumer needs and nobody will ask about any more.
--
-- history: how long the log and the history are kept.   silent: a consumer not seen for longer holds nothing back.
-- Result: how many rows of the log were deleted, canaries not counted.   Tables written: omnicdc.change, omnicdc.history, omnicdc.watch.
-- Ages are measured by clock_timestamp(): now() stands still in a long transaction.   Repeat: harmless.
create or replace function omnicdc.prune(history interval, silent interval) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $prune$
declare
  below xid8;
  deleted bigint;
begin
  -- Never beyond what is open now: a consumer's row may have come with a dump of another cluster.
  -- The first in order, as PostgreSQL 14 has no min() of transaction ids.
  select least((select pg_snapshot_xmin(c.snapshot)
                  from omnicdc.consumer c
                 where c.seen_at > clock_timestamp() - silent
                 order by pg_snapshot_xmin(c.snapshot) limit 1),
               pg_snapshot_xmin(pg_current_snapshot())) into below;
  delete from omnicdc.change c where c.xid < below and c.at < clock_timestamp() - history;
  get diagnostics deleted = row_count;
  if deleted > 0 then
    update omnicdc.watch set pruned_below = greatest(pruned_below, below);
  end if;
  -- Canaries go at once, those of a moment ago, whom the index on `at` finds: nobody waits for one.
  delete from omnicdc.change c
   where c.at > clock_timestamp() - interval '10 minutes' and c.xid < below and c.project_id = omnicdc.canary_id();
  delete from omnicdc.history h where h.at < clock_timestamp() - history;
  return deleted;
end
$prune$;
revoke all on function omnicdc.prune(interval, interval) from public;
grant execute on function omnicdc.prune(interval, interval) to omnicdc_daemon;
