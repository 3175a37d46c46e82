-- omnicdc.unread(since): the changes that are visible now and were not visible in a snapshot (PgQ's pair of snapshots).
--
-- Those of transactions that began since, and of those that were open and have ended: what was committed beside one that
-- stays open for hours is not looked at again and again.
-- Canaries left out. Rows that came with a dump of another cluster may lie in this one's future: not visible, so not read.
-- A query without settings of its own, so that PostgreSQL puts it in the place of its call and uses the index on xid;
-- for callers who pin their search_path.   Tables written: none.
create or replace function omnicdc.unread(since pg_snapshot) returns setof omnicdc.change
language sql stable
as $unread$
  select c.*
    from (select began.*
            from omnicdc.change began
           where began.xid operator(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(since)
             -- Visible now, so below this. Two bounds are what makes the planner expect few rows, whatever `since` will be.
             and began.xid operator(pg_catalog.<) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
             and pg_catalog.pg_visible_in_snapshot(began.xid, pg_catalog.pg_current_snapshot())
          union all
          select ended.*
            from omnicdc.change ended
           where ended.xid operator(pg_catalog.=) any (array(
                   select was_open.xid from pg_catalog.pg_snapshot_xip(since) as was_open (xid)
                    where pg_catalog.pg_visible_in_snapshot(was_open.xid, pg_catalog.pg_current_snapshot())))) as c
   where c.project_id is distinct from omnicdc.canary_id()
$unread$;
revoke all on function omnicdc.unread(pg_snapshot) from public;
grant execute on function omnicdc.unread(pg_snapshot) to omnicdc_daemon, omnicdc_client;
