-- omnicdc.prune(history, silent, most, since): deletes a batch of what no live consumer needs and is older than `history`.
--
-- history: how long the log and the generations are kept.   silent: the limit of a consumer whose row names none of its own;
-- one not seen for longer holds nothing back, and is forgotten.   most: how many rows of each table are looked at.
-- since: the transaction that the batch before this one reached: rows that it deleted stay in the index for as long as a
-- transaction is open that could see them.
-- changes: how many rows of the log were deleted.   more: whether another batch is worth while.   reached: its `since`.
-- forgotten: a consumer that was silent for too long, NULL for none.
-- Tables written: omnicdc.change, omnicdc.consumer, omnicdc.history, omnicdc.watch.   Repeat: harmless.
--
-- The log is walked from its oldest transaction on, by the index on xid, and never beyond `most` rows: nothing here reads more
-- than it may delete. Rows of a long transaction are younger than their id: they hold up what follows them for as long as
-- that transaction took. Ages are measured by clock_timestamp(): now() stands still in a long transaction.
-- One at a time prunes: a second one finds nothing to do, and does not wait.
create or replace function omnicdc.prune(history interval, silent interval, most integer default 5000,
                                         since xid8 default '0', out changes bigint, out more boolean, out reached xid8, out forgotten text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $prune$
declare
  oldest_kept timestamptz := clock_timestamp() - history;
  below xid8;
  places tid[];
  last_deleted xid8;
  looked_at bigint;
  generations bigint;
begin
  changes := 0;
  more := false;
  reached := since;
  perform from omnicdc.watch for update skip locked;
  if not found then
    return;
  end if;
  -- Never beyond what is open now: a consumer's row may have come with a dump of another cluster.
  -- The first in order, as PostgreSQL 14 has no min() of transaction ids.
  below := least((select pg_snapshot_xmin(c.snapshot)
                    from omnicdc.consumer c
                   where c.daemon and c.seen_at > clock_timestamp() - coalesce(c.silent_limit, silent)
                   order by pg_snapshot_xmin(c.snapshot) limit 1),
                 pg_snapshot_xmin(pg_current_snapshot()));
  select count(*), array_agg(o.place) filter (where o.at < oldest_kept),
         (array_agg(o.xid order by o.xid desc) filter (where o.at < oldest_kept))[1]
    into looked_at, places, last_deleted
    from (select c.ctid as place, c.xid, c.at from omnicdc.change c
           where c.xid >= since and c.xid < below order by c.xid limit most) as o;
  if places is not null then
    -- First: who reads the log must never miss a row without being told.
    update omnicdc.watch set pruned_below = greatest(pruned_below, (last_deleted::text::numeric + 1)::text::xid8);
    delete from omnicdc.change c where c.ctid = any (places) and c.xid < below and c.at < oldest_kept;
    get diagnostics changes = row_count;
    reached := last_deleted;
  end if;
  with deleted as (
    delete from omnicdc.history h
     where h.id in (select old.id from omnicdc.history old where old.at < oldest_kept order by old.at limit most)
    returning h.consumer),
  marked as (
    update omnicdc.consumer c set history_pruned = true
     where not c.history_pruned and c.name in (select d.consumer from deleted d))
  select count(*) into generations from deleted;
  select c.name into forgotten
    from omnicdc.consumer c
   where c.seen_at < clock_timestamp() - coalesce(c.silent_limit, silent) and not omnicdc.is_alive(c.name)
   order by c.seen_at limit 1;
  -- Its daemon may have connected just now.
  if found and not pg_try_advisory_xact_lock(1869442666, hashtext(forgotten)) then
    forgotten := null;
  end if;
  if forgotten is not null then
    perform omnicdc.forget_consumer(forgotten, most);
  end if;
  -- Where few of those looked at were old enough, the round has caught up: a few more grow old all the time. And only the next
  -- round, which begins at the oldest again, finds what a long transaction left behind this one.
  more := (looked_at = most and changes * 2 > most) or generations = most or forgotten is not null;
end
$prune$;
revoke all on function omnicdc.prune(interval, interval, integer, xid8) from public;
grant execute on function omnicdc.prune(interval, interval, integer, xid8) to omnicdc_daemon;
