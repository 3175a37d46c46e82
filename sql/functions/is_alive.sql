-- omnicdc.is_alive(consumer): whether the consumer's daemon is connected.
--
-- Tables written: none.
create or replace function omnicdc.is_alive(consumer text) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $alive$
  select omnicdc.consumer_pid(consumer) is not null
$alive$;
revoke all on function omnicdc.is_alive(text) from public;
grant execute on function omnicdc.is_alive(text) to omnicdc_daemon, omnicdc_client;
