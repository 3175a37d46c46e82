-- omnicdc.is_alive(consumer): whether a session of this database holds the consumer's name, as its daemon does.
--
-- Tables written: none.
create or replace function omnicdc.is_alive(consumer text) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $alive$
  select exists (
    select from pg_locks l
     where l.locktype = 'advisory' and l.granted
       and l.classid = 1869442666 and l.objid = (hashtext(consumer)::bigint & 4294967295)::oid and l.objsubid = 2
       and l.database = (select d.oid from pg_database d where d.datname = current_database()))
$alive$;
revoke all on function omnicdc.is_alive(text) from public;
grant execute on function omnicdc.is_alive(text) to omnicdc_daemon, omnicdc_client;
