-- omnicdc.ring(): rings the doorbell, once a transaction, and only if a consumer sleeps.
--
-- A writer takes W for the rest of its transaction, then looks whether anyone holds S. A consumer about to
-- sleep takes S, then looks whether anyone holds W. So either the writer sees the sleeper and notifies, or the
-- sleeper sees the writer and comes back by itself. Advisory locks ignore isolation levels and snapshots.
-- S may be refused only because another writer is looking at it just now. A needless notification is worse than waste: PREPARE
-- TRANSACTION refuses a transaction that sent one. Where S can be had neither alone nor shared, a writer has it and nobody sleeps;
-- where it can be had shared, look again: that another one comes along each time is not to be expected.
-- The note that this transaction has rung is undone with the savepoint that undoes the lock and the notification.
--
-- It never fails: without a place in the server's lock table, or without the right to call one of these functions, it stays
-- silent, and the consumer's next poll finds the change. The commit of a notification takes a lock as well, which would fail
-- CMP's commit; so some places are tried first, and given back by the end of the block that took them.
--
-- Result: nothing.   Tables written: none.   Repeat: harmless.
-- Locks: advisory (1869442665, 1) and (1869442665, 2); for an instant (1869442667, *).
create or replace function omnicdc.ring() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $ring$
begin
  if omnicdc.has_rung() or not omnicdc.someone_may_sleep() then
    return;
  end if;
  if pg_try_advisory_xact_lock_shared(1869442665, 1) then
    for attempt in 1..3 loop
      if (case when pg_try_advisory_lock(1869442665, 2) then pg_advisory_unlock(1869442665, 2)
               when pg_try_advisory_lock_shared(1869442665, 2) then not pg_advisory_unlock_shared(1869442665, 2)
               else true end) then
        return;
      end if;
    end loop;
  end if;
  begin
    -- More than the one that is needed: other sessions take some before we commit.
    perform pg_try_advisory_xact_lock(1869442667, pg_backend_pid() * 16 + place) from generate_series(0, 15) as place;
    raise exception using errcode = 'OC002';
  exception when sqlstate 'OC002' then
    null;
  end;
  if pg_notification_queue_usage() < 0.5 then
    -- A full queue would fail the application's commit. The payload stays empty: it has a limit as well.
    perform pg_notify('omnicdc_change', '');
  end if;
  perform set_config('omnicdc.rung', pg_current_xact_id()::text, true);
exception when others then
  return;
end
$ring$;
revoke all on function omnicdc.ring() from public;
