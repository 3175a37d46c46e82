-- omnicdc.someone_may_sleep(): takes W for the rest of the transaction, and tells whether a consumer may hold S.
--
-- Neither lock is waited for: anybody may hold an advisory lock. Without W, rather notify once too often.
-- One expression takes S and gives it back: a query cancelled between two statements would keep it for ever.
-- It has no settings of its own, so that PostgreSQL puts it in the place of its call. For functions that pin
-- their search_path.   Tables written: none.   Repeat: harmless, and cheap: W is there already.
create or replace function omnicdc.someone_may_sleep() returns boolean
language sql volatile
as $sleeps$
  select not (pg_catalog.pg_try_advisory_xact_lock_shared(1869442665, 1)
              and case when pg_catalog.pg_try_advisory_lock(1869442665, 2)
                       then pg_catalog.pg_advisory_unlock(1869442665, 2) else false end)
$sleeps$;
revoke all on function omnicdc.someone_may_sleep() from public;
