-- omnicdc.consumer_pid(consumer): the server process of the session that holds the lock on the consumer's name; NULL if none does.
--
-- That is its daemon's session. Sessions of other databases are not considered.   Tables written: none.
create or replace function omnicdc.consumer_pid(consumer text) returns integer
language sql stable set search_path = pg_catalog, pg_temp
as $pid$
  select l.pid from pg_locks l
   where l.locktype = 'advisory' and l.granted and l.objsubid = 1
     and ((l.classid::bigint << 32) | l.objid::bigint) = omnicdc.consumer_lock(consumer)
     and l.database = (select d.oid from pg_database d where d.datname = current_database())
$pid$;
revoke all on function omnicdc.consumer_pid(text) from public;
grant execute on function omnicdc.consumer_pid(text) to omnicdc_daemon, omnicdc_client;
