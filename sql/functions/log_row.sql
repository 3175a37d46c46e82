-- omnicdc.log_row(): trigger function for INSERT and DELETE, after each row; it logs the row's key.
--
-- The source is 1, or the trigger's argument if it has one, as on omnicdc.canary: reading an argument costs each row, so CMP's table has none.
-- Nothing is converted in the INSERT: PostgreSQL prepares its expressions again for each row, those of assignments once a transaction.
-- UPDATE has a function of its own, log_update(), which watch() writes: each transaction that calls a function pays for everything
-- that is in it, used or not.
--
-- An id whose type is not PostgreSQL's own is not read: its owner could have given the type a cast, which would run as omnicdc_owner.
-- Tables written: omnicdc.change.
create or replace function omnicdc.log_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $log$
declare
  source smallint := 1;
  key text;
  row_was_read boolean := false;
  may_wait boolean;
  forced boolean := true;
begin
  -- Everything that may fail while the write itself does not: reading the row, and taking a lock where the lock table is full.
  begin
    forced := row_security_active('omnicdc.change'::regclass);
    if tg_op = 'INSERT' then
      if pg_typeof(new.id)::oid < '16384'::oid then key := new.id::uuid::text; end if;
    elsif pg_typeof(old.id)::oid < '16384'::oid then key := old.id::uuid::text; end if;
    row_was_read := true;
    if tg_nargs > 0 then source := tg_argv[0]; end if;
    -- Checked here as well as in notify_consumers(): a call costs more than the check.
    may_wait := omnicdc.consumer_may_wait() and not omnicdc.notified();
  exception when others then
    if not row_was_read then
      key := null;  -- the column is gone: log every row of the table
      may_wait := true;
    end if;
    -- Without the locks: no notification, because its commit takes one more lock. The consumer's next poll finds the row.
  end;
  if forced then
    perform omnicdc.log_if_allowed(source, array[key], lower(tg_op collate "C"), null);
  else
    insert into omnicdc.change (source, key, op) values (source, key, lower(tg_op collate "C"));
  end if;
  if may_wait then
    perform omnicdc.notify_consumers();
  end if;
  return null;
end
$log$;
revoke all on function omnicdc.log_row() from public;
