-- omnicdc.log_row_text(source, key_column, key_type): the text of a source's trigger function for INSERT and DELETE, after each row.
--
-- source: omnicdc.source.id, or 0 for omnicdc.canary.   key_column, key_type: as in omnicdc.source; NULL if the table has no key that is logged.
-- Result: a plpgsql body, which logs the row's key.   Tables written: none.
-- The source's number and the key's column are constants in the text, because reading an argument of the trigger costs each row.
-- UPDATE has a function of its own, because each transaction that calls a function pays for everything that is in it, used or not.
-- A key is read only while its column has the type that it had at `install`. A column's owner can give it a user-defined type with a
-- cast to text, and that cast would run as omnicdc_owner; the planner evaluates casts of a branch that is not taken as well.
-- Where writers are recorded, the row has them too; otherwise the text holds nothing of it, because that would cost each row.
-- A uuid is cast to uuid first: a key whose column became text is then still written as a UUID, or refused.
create or replace function omnicdc.log_row_text(source smallint, key_column text, key_type text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $text$
  select format($body$
declare
  key text;
  row_was_read boolean := %1$s;
%4$s  may_wait boolean;
  forced boolean := true;
begin
  -- Everything that may fail while the write itself does not: reading the row, and taking a lock where the lock table is full.
  begin
    forced := row_security_active('omnicdc.change'::regclass);
%2$s%5$s    -- Checked here as well as in notify_consumers(): a call costs more than the check.
    may_wait := omnicdc.consumer_may_wait() and not omnicdc.notified();
  exception when others then
    if not row_was_read then
      key := null;  -- the column is gone: log every row of the table
      may_wait := true;
    end if;
    -- Without the locks: no notification, because its commit takes one more lock. The consumer's next poll finds the row.
  end;
  if forced then
    perform omnicdc.%7$s(%3$s::smallint, array[key], lower(tg_op collate "C"), null%6$s);
  else
    insert into omnicdc.change (source, key, op%6$s) values (%3$s, key, lower(tg_op collate "C")%6$s);
  end if;
  if may_wait then
    perform omnicdc.notify_consumers();
  end if;
  return null;
end
$body$,
    (key_column is null)::text,
    case when key_column is null then '' else format($key$    if tg_op = 'INSERT' then
      if pg_typeof(new.%1$I)::oid < '16384'::oid then key := new.%1$I%2$s::text; end if;
    elsif pg_typeof(old.%1$I)::oid < '16384'::oid then key := old.%1$I%2$s::text; end if;
    row_was_read := true;
$key$, key_column, case key_type when 'uuid' then '::uuid' else '' end) end,
    source,
    case when writer is null then '' else E'  writer text[];\n' end,
    case when writer is null then '' else format(E'    writer := %s;\n', writer) end,
    case when writer is null then '' else ', writer' end,
    case when writer is null then 'log_if_allowed' else 'log_with_writer_if_allowed' end)
  from (select case when source <> 0 then omnicdc.current_writer() end as writer) as recorded
$text$;
revoke all on function omnicdc.log_row_text(smallint, text, text) from public;
