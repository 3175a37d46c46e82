-- omnicdc.ring(): rings the doorbell, once a transaction, and only if a consumer sleeps.
--
-- A writer takes W for the rest of its transaction, then looks whether anyone holds S. A consumer about to
-- sleep takes S, then looks whether anyone holds W. So either the writer sees the sleeper and notifies, or the
-- sleeper sees the writer and comes back by itself. Advisory locks ignore isolation levels and snapshots.
-- The note that this transaction has rung is undone with the savepoint that undoes the lock and the notification.
--
-- Result: nothing.   Tables written: none.   Repeat: harmless.   Locks: advisory (1869442665, 1) and (1869442665, 2).
create or replace function omnicdc.ring() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $ring$
begin
  if omnicdc.someone_may_sleep() and not omnicdc.has_rung() then
    perform set_config('omnicdc.rung', pg_current_xact_id()::text, true);
    if pg_notification_queue_usage() < 0.5 then
      -- A full queue would fail the application's commit. The payload stays empty: it has a limit as well.
      perform pg_notify('omnicdc_change', '');
    end if;
  end if;
end
$ring$;
revoke all on function omnicdc.ring() from public;
