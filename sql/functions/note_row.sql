-- omnicdc.note_row(): trigger function for INSERT and DELETE, after each row. For UPDATE there is note_update(), which
-- watch() writes: what a function has in it costs each transaction that calls it, used or not.
--
-- An id whose type is not PostgreSQL's own is not looked at: its owner could have given it a cast, to be run as omnicdc_owner.
-- Tables written: omnicdc.change.
create or replace function omnicdc.note_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $note$
declare
  project uuid;
  looked boolean := false;
  asleep boolean;
  refusable boolean := true;
begin
  -- All that may fail while the write itself does not: looking into the row, and taking a lock where the lock table is full.
  begin
    refusable := row_security_active('omnicdc.change'::regclass);
    if tg_op = 'INSERT' then
      if pg_typeof(new.id)::oid < '16384'::oid then project := new.id; end if;
    elsif pg_typeof(old.id)::oid < '16384'::oid then project := old.id; end if;
    looked := true;
    -- Asked here as well as in ring(): a call costs more than the answer.
    asleep := omnicdc.someone_may_sleep() and not omnicdc.has_rung();
  exception when others then
    if not looked then
      project := null;  -- the column is gone: every project is meant
      asleep := true;
    end if;
    -- Without the locks: silent, as the notification's commit takes one more. The consumer's next poll finds the row.
  end;
  if refusable then
    perform omnicdc.log_if_allowed(array[project], lower(tg_op collate "C"), null);
  else
    insert into omnicdc.change (project_id, op) values (project, lower(tg_op collate "C"));
  end if;
  if asleep then
    perform omnicdc.ring();
  end if;
  return null;
end
$note$;
revoke all on function omnicdc.note_row() from public;
