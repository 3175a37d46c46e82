-- omnicdc.changes_since(since): the changes that are visible now and were not visible in a snapshot (PgQ's pair of snapshots).
--
-- They belong to transactions that began after the snapshot, and to those that were open in it and have ended. Read apart, so that
-- what was committed beside a transaction that stays open for hours is not read again and again.
-- Canaries (source 0) are left out. Rows that came with a dump of another cluster may lie in this one's future: they are not visible, so not read.
-- A query without settings of its own, so that PostgreSQL inlines it and uses the index on xid. Callers pin their search_path.
-- Tables written: none.
create or replace function omnicdc.changes_since(since pg_snapshot) returns setof omnicdc.change
language sql stable
as $changes$
  select c.*
    from (select began.*
            from omnicdc.change began
           where began.xid operator(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(since)
             -- Visible now, so below this. With both bounds the planner expects few rows, whatever `since` will be.
             and began.xid operator(pg_catalog.<) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
             and pg_catalog.pg_visible_in_snapshot(began.xid, pg_catalog.pg_current_snapshot())
          union all
          select ended.*
            from omnicdc.change ended
           where ended.xid operator(pg_catalog.=) any (array(
                   select was_open.xid from pg_catalog.pg_snapshot_xip(since) as was_open (xid)
                    where pg_catalog.pg_visible_in_snapshot(was_open.xid, pg_catalog.pg_current_snapshot())))) as c
   where c.source is distinct from 0
$changes$;
revoke all on function omnicdc.changes_since(pg_snapshot) from public;
grant execute on function omnicdc.changes_since(pg_snapshot) to omnicdc_daemon, omnicdc_client;
