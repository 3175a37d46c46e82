-- omnicdc.relation_identity(): the identity of the log and of CMP's tables, and when their server started.
--
-- It changes when one of the tables is dropped and created again, or restored. The server's start is part of it because
-- process numbers repeat after a restart: those of a container are the same after each start.
-- Result: the log's oid, each source with its table's oid (`-` for a table that does not exist), and the start; as of this moment,
-- whatever the transaction's snapshot is.
-- Tables written: none.
create or replace function omnicdc.relation_identity() returns text
language sql stable set search_path = pg_catalog, pg_temp set row_security = on
as $identity$
  select concat(coalesce(to_regclass('omnicdc.change')::oid::text, '-'), ' ',
                (select string_agg(concat(s.id, ':', coalesce(to_regclass(s.target)::oid::text, '-')), ',' order by s.id) from omnicdc.source s), ' ',
                extract(epoch from pg_postmaster_start_time()))
$identity$;
revoke all on function omnicdc.relation_identity() from public;
grant execute on function omnicdc.relation_identity() to omnicdc_daemon, omnicdc_client;
