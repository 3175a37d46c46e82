-- omnicdc.holder(consumer): the session of this database that holds the consumer's name, as its daemon does; or NULL.
--
-- Tables written: none.
create or replace function omnicdc.holder(consumer text) returns integer
language sql stable set search_path = pg_catalog, pg_temp
as $holder$
  select l.pid from pg_locks l
   where l.locktype = 'advisory' and l.granted
     and l.classid = 1869442666 and l.objid = (hashtext(consumer)::bigint & 4294967295)::oid and l.objsubid = 2
     and l.database = (select d.oid from pg_database d where d.datname = current_database())
$holder$;
revoke all on function omnicdc.holder(text) from public;
grant execute on function omnicdc.holder(text) to omnicdc_daemon, omnicdc_client;
