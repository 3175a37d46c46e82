-- omnicdc.consumer_may_wait(): takes the writer lock for the rest of the transaction; returns whether a consumer may be waiting for a
-- notification.
--
-- It waits for no lock, because any user can hold an advisory lock. Without the writer lock the answer is true: a notification too many.
-- One expression takes the sleeper lock and releases it: a query cancelled between two statements would keep it for ever.
-- It has no settings of its own, so that PostgreSQL inlines it. Call it from functions that pin their search_path.
-- Tables written: none.   Repeat: harmless, and cheap: the writer lock is held already.
create or replace function omnicdc.consumer_may_wait() returns boolean
language sql volatile
as $waits$
  select not (pg_catalog.pg_try_advisory_xact_lock_shared(omnicdc.writer_lock())
              and case when pg_catalog.pg_try_advisory_lock(omnicdc.sleeper_lock())
                       then pg_catalog.pg_advisory_unlock(omnicdc.sleeper_lock()) else false end)
$waits$;
revoke all on function omnicdc.consumer_may_wait() from public;
