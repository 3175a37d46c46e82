-- omnicdc.prune(history, expiry, most, since): deletes a batch of rows that are older than `history` and that no live consumer needs.
--
-- history: how long the log and the generations are kept.   expiry: the limit of a consumer whose row has none of its own;
-- one not seen for longer keeps no rows, and is forgotten.   most: how many rows of each table are read at most.
-- since: the transaction that the batch before this one reached, because rows that it deleted stay in the index while a
-- transaction is open that could see them.
-- changes: how many rows of the log were deleted.   more: whether to run another batch.   reached: its `since`.
-- forgotten: a consumer that was not seen for too long, NULL for none.
-- Tables written: omnicdc.change, omnicdc.consumer, omnicdc.history, omnicdc.source.   Repeat: harmless.
--
-- The log is read from its oldest transaction on, by the index on xid, and never more than `most` rows of it: not more
-- than may be deleted. Rows of a long transaction are younger than their id; the rows behind them are kept for as long as
-- that transaction took. Ages are measured by clock_timestamp(), because now() does not advance in a long transaction.
-- One session prunes at a time: a second call does nothing, and does not wait.
create or replace function omnicdc.prune(history interval, expiry interval, most integer default 5000,
                                         since xid8 default '0', out changes bigint, out more boolean, out reached xid8, out forgotten text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $prune$
declare
  oldest_kept timestamptz := clock_timestamp() - history;
  below xid8;
  old_rows tid[];
  last_deleted xid8;
  rows_read bigint;
  generations bigint;
begin
  changes := 0;
  more := false;
  reached := since;
  perform from omnicdc.source s where s.id = (select min(first.id) from omnicdc.source first) for update skip locked;
  if not found then
    return;
  end if;
  -- Never beyond the oldest open transaction, because a consumer's row may have come with a dump of another cluster.
  -- ORDER BY and LIMIT, because PostgreSQL 14 has no min(xid8).
  below := least((select pg_snapshot_xmin(c.snapshot)
                    from omnicdc.consumer c
                   where c.daemon and c.seen_at > clock_timestamp() - coalesce(c.expiry, prune.expiry)
                   order by pg_snapshot_xmin(c.snapshot) limit 1),
                 pg_snapshot_xmin(pg_current_snapshot()));
  select count(*), array_agg(o.row_id) filter (where o.at < oldest_kept),
         (array_agg(o.xid order by o.xid desc) filter (where o.at < oldest_kept))[1]
    into rows_read, old_rows, last_deleted
    from (select c.ctid as row_id, c.xid, c.at from omnicdc.change c
           where c.xid >= since and c.xid < below order by c.xid limit most) as o;
  if old_rows is not null then
    -- Before the rows are deleted: a reader of the log must not miss a row unnoticed.
    update omnicdc.source set pruned_below = greatest(pruned_below, (last_deleted::text::numeric + 1)::text::xid8);
    delete from omnicdc.change c where c.ctid = any (old_rows) and c.xid < below and c.at < oldest_kept;
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
   where c.seen_at < clock_timestamp() - coalesce(c.expiry, prune.expiry) and not omnicdc.is_alive(c.name)
   order by c.seen_at limit 1;
  -- Its daemon may have connected meanwhile.
  if found and not pg_try_advisory_xact_lock(omnicdc.consumer_lock(forgotten)) then
    forgotten := null;
  end if;
  if forgotten is not null then
    perform omnicdc.forget_consumer(forgotten, most);
  end if;
  -- If few of the rows read were old enough, this round has caught up, as rows grow old all the time. Only the next
  -- round, which begins at the oldest row again, finds what a long transaction left behind.
  more := (rows_read = most and changes * 2 > most) or generations = most or forgotten is not null;
end
$prune$;
revoke all on function omnicdc.prune(interval, interval, integer, xid8) from public;
grant execute on function omnicdc.prune(interval, interval, integer, xid8) to omnicdc_daemon;
