-- omnicdc.place(): which tables the log and CMP's are, and since when their server runs: dropped and created again, or restored,
-- they are others. Without the server's start, a session's number would come again: a container's are the same after each start.
--
-- Result: their oids, `-` for one that is not there, and the start; at this moment, whatever the transaction's snapshot.
-- Tables written: none.
create or replace function omnicdc.place() returns text
language sql stable set search_path = pg_catalog, pg_temp set row_security = on
as $place$
  select concat(coalesce(to_regclass('omnicdc.change')::oid::text, '-'), ' ',
                coalesce((select to_regclass(w.target)::oid::text from omnicdc.watch w), '-'), ' ',
                extract(epoch from pg_postmaster_start_time()))
$place$;
revoke all on function omnicdc.place() from public;
grant execute on function omnicdc.place() to omnicdc_daemon, omnicdc_client;
