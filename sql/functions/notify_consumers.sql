-- omnicdc.notify_consumers(): sends one notification on channel omnicdc_change a transaction, and only if a consumer waits for one.
--
-- Two advisory locks decide that; they ignore isolation levels and snapshots. A writer takes the writer lock (shared) for the rest of
-- its transaction, then checks whether a consumer holds the sleeper lock. A consumer that is about to sleep takes the sleeper lock
-- (shared), then checks whether a writer holds the writer lock. So either the writer sees the sleeper and notifies it, or the
-- sleeper sees the writer and reads the log again soon.
-- The sleeper lock may be refused only because another writer is checking it at this moment. A needless notification is worse than
-- waste: PREPARE TRANSACTION refuses a transaction that sent one. Where the lock is available neither exclusively nor shared, a
-- writer holds it exclusively, so no consumer waits. Where it is available shared, check again; three times is enough.
-- The setting omnicdc.notified records that this transaction has notified. A rollback to a savepoint undoes the setting together with
-- the lock and the notification.
--
-- It never fails. If the server's lock table is full, or a function used here may not be called, it does not notify, and the
-- consumer's next poll finds the change. The commit of a notification takes a lock as well, and would fail CMP's commit where the lock
-- table is full; so some locks are tried first, and released at the end of the block that took them.
--
-- Result: nothing.   Tables written: none.   Repeat: harmless.
-- Locks: the writer lock and the sleeper lock; for an instant (1869442667, *).
create or replace function omnicdc.notify_consumers() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $notify$
begin
  if omnicdc.notified() or not omnicdc.consumer_may_wait() then
    return;
  end if;
  if pg_try_advisory_xact_lock_shared(omnicdc.writer_lock()) then
    for attempt in 1..3 loop
      if (case when pg_try_advisory_lock(omnicdc.sleeper_lock()) then pg_advisory_unlock(omnicdc.sleeper_lock())
               when pg_try_advisory_lock_shared(omnicdc.sleeper_lock()) then not pg_advisory_unlock_shared(omnicdc.sleeper_lock())
               else true end) then
        return;
      end if;
    end loop;
  end if;
  begin
    -- More than the one that is needed: other sessions take some before this transaction commits.
    perform pg_try_advisory_xact_lock(1869442667, pg_backend_pid() * 16 + place) from generate_series(0, 15) as place;
    raise exception using errcode = 'OC002';
  exception when sqlstate 'OC002' then
    null;
  end;
  if pg_notification_queue_usage() < 0.5 then
    -- A full queue would fail the application's commit. The payload stays empty, because it has a limit as well.
    perform pg_notify('omnicdc_change', '');
  end if;
  perform set_config('omnicdc.notified', pg_current_xact_id()::text, true);
exception when others then
  return;
end
$notify$;
revoke all on function omnicdc.notify_consumers() from public;
