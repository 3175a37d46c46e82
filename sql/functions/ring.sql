-- omnicdc.ring(): rings the doorbell, once a transaction, and only if a consumer sleeps.
--
-- A writer takes W for the rest of its transaction, then looks whether anyone holds S. A consumer about to
-- sleep takes S, then looks whether anyone holds W. So either the writer sees the sleeper and notifies, or the
-- sleeper sees the writer and comes back by itself. Advisory locks ignore isolation levels and snapshots.
-- The note that this transaction has rung is undone with the savepoint that undoes the lock and the notification.
-- Neither lock is waited for: anybody may hold an advisory lock. Without W, rather notify once too often.
--
-- Result: nothing.   Tables written: none.   Repeat: harmless.   Locks: advisory (1869442665, 1) and (1869442665, 2).
create or replace function omnicdc.ring() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $ring$
declare
  nobody_sleeps boolean;
begin
  if current_setting('omnicdc.rung', true) is not distinct from pg_current_xact_id()::text then
    return;
  end if;
  perform set_config('omnicdc.rung', pg_current_xact_id()::text, true);
  -- One expression takes S and gives it back: a query cancelled between two statements would keep it for ever.
  nobody_sleeps := pg_try_advisory_xact_lock_shared(1869442665, 1)
                   and case when pg_try_advisory_lock(1869442665, 2) then pg_advisory_unlock(1869442665, 2) else false end;
  if not nobody_sleeps and pg_notification_queue_usage() < 0.5 then
    -- A full queue would fail the application's commit. The payload stays empty: it has a limit as well.
    perform pg_notify('omnicdc_change', '');
  end if;
end
$ring$;
revoke all on function omnicdc.ring() from public;
