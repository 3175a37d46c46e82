-- The numbers of omnicdc's advisory locks, each as one bigint. Its first half is the classid in pg_locks, its second half the objid.
--
--   1869442665, 1      the writer lock     omnicdc.writer_lock(): a writer holds it (shared) while it may not notify
--   1869442665, 2      the sleeper lock    omnicdc.sleeper_lock(): a consumer holds it (shared) while it waits for a notification
--   1869442665, 3      one installation at a time (sql/roles.sql)
--   1869442666, hash   a consumer's name   omnicdc.consumer_lock(consumer): its daemon holds it
--   1869442667, any    tried for an instant, to check whether the lock table has room (omnicdc.notify_consumers())
--
-- omnicdc.notify_consumers() explains how writer lock and sleeper lock work together. Only one session can hold the lock on a
-- consumer's name, so a second daemon of that name is kept out; and a daemon that holds it is alive.
-- Expressions without settings of their own, so that PostgreSQL inlines them.   Tables written: none.
create or replace function omnicdc.writer_lock() returns bigint
language sql immutable
as $lock$
  select (1869442665::pg_catalog.int8 operator(pg_catalog.<<) 32) operator(pg_catalog.|) 1
$lock$;
revoke all on function omnicdc.writer_lock() from public;
grant execute on function omnicdc.writer_lock() to omnicdc_daemon;

create or replace function omnicdc.sleeper_lock() returns bigint
language sql immutable
as $lock$
  select (1869442665::pg_catalog.int8 operator(pg_catalog.<<) 32) operator(pg_catalog.|) 2
$lock$;
revoke all on function omnicdc.sleeper_lock() from public;
grant execute on function omnicdc.sleeper_lock() to omnicdc_daemon;

create or replace function omnicdc.consumer_lock(consumer text) returns bigint
language sql immutable
as $lock$
  select (1869442666::pg_catalog.int8 operator(pg_catalog.<<) 32)
         operator(pg_catalog.|) (pg_catalog.hashtext(consumer)::pg_catalog.int8 operator(pg_catalog.&) 4294967295)
$lock$;
revoke all on function omnicdc.consumer_lock(text) from public;
grant execute on function omnicdc.consumer_lock(text) to omnicdc_daemon, omnicdc_client;
