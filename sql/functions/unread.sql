-- omnicdc.unread(since): the changes that are visible now and were not visible in a snapshot (PgQ's pair of snapshots).
--
-- Canaries left out. Rows that came with a dump of another cluster may lie in this one's future: not visible, so not read.
-- A query without settings of its own, so that PostgreSQL puts it in the place of its call and uses the index on xid;
-- for callers who pin their search_path.   Tables written: none.
create or replace function omnicdc.unread(since pg_snapshot) returns setof omnicdc.change
language sql stable
as $unread$
  select c.*
    from omnicdc.change c
   where c.xid operator(pg_catalog.>=) pg_catalog.pg_snapshot_xmin(since)
     -- Visible now, so below this. Two bounds are what makes the planner expect few rows, whatever `since` will be.
     and c.xid operator(pg_catalog.<) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
     and not pg_catalog.pg_visible_in_snapshot(c.xid, since)
     and pg_catalog.pg_visible_in_snapshot(c.xid, pg_catalog.pg_current_snapshot())
     and c.project_id is distinct from omnicdc.canary_id()
$unread$;
revoke all on function omnicdc.unread(pg_snapshot) from public;
grant execute on function omnicdc.unread(pg_snapshot) to omnicdc_daemon, omnicdc_client;
