-- omnicdc.watch_source(watched): the text of the trigger function for UPDATE, for a watch list.
--
-- watched: columns, or column.key for a key of a json column.   Result: a plpgsql body.   Tables written: none.
-- Whoever owns the table may give a column a type of their own (an oid from 16384 on), and that type casts of their own.
-- So of such a type no cast is used: not even in a branch that is not taken, for the planner looks into all of them.
create or replace function omnicdc.watch_source(watched text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $source$
  select format($body$
declare
  old_id uuid;
  new_id uuid;
  changed text[];
  looked boolean := false;
  asleep boolean;
  refusable boolean := true;
begin
  -- All that may fail while the write itself does not: looking into the row (CMP's schema was changed, a value is damaged), and
  -- taking a lock where the lock table is full. Nothing is written in here: that would cost a subtransaction id for each row.
  begin
    refusable := row_security_active('omnicdc.change'::regclass);
    if pg_typeof(old.id)::oid < '16384'::oid then
      old_id := old.id;
      new_id := new.id;
    end if;
    if %1$s then
      changed := array_remove(array[
        %2$s
      ], null);
    else
      changed := array_remove(array[
        %3$s
      ], null);
    end if;
    if changed = '{}' and old_id = new_id then
      return null;
    end if;
    looked := true;
    asleep := omnicdc.someone_may_sleep() and not omnicdc.has_rung();
  exception when others then
    if not looked then
      changed := null;
      asleep := true;
    end if;
    -- Without the locks: silent, as in note_row().
  end;
  if refusable then
    perform omnicdc.log_if_allowed(case when old_id <> new_id then array[new_id, old_id] else array[new_id] end, 'update',
                                   case when old_id <> new_id then null else changed end);
  elsif old_id <> new_id then
    insert into omnicdc.change (project_id, op) values (new_id, 'update'), (old_id, 'update');
  else
    insert into omnicdc.change (project_id, op, fields) values (new_id, 'update', changed);
  end if;
  if asleep then
    perform omnicdc.ring();
  end if;
  return null;
end
$body$,
    string_agg(distinct format($own$pg_typeof(old.%I)::oid < '16384'::oid$own$, column_name), ' and '),
    string_agg(
      -- Compared as text byte by byte: a collation or a type that takes two spellings for equal would hide a change.
      format('case when (%s) collate "C" is distinct from (%s) collate "C" then %L end',
             format(reading, 'old', column_name, key), format(reading, 'new', column_name, key), item),
      E',\n        ' order by item collate "C"),
    string_agg(
      -- What the type's own output function says, of the whole column.
      format($shown$case when format('%%L', old.%1$I) collate "C" is distinct from format('%%L', new.%1$I) collate "C" then %2$L end$shown$,
             column_name, item),
      E',\n        ' order by item collate "C"))
  from (
    select item,
           split_part(item, '.', 1) as column_name,
           substr(item, length(split_part(item, '.', 1)) + 2) as key,
           case when position('.' in item) > 0 then '%1$s.%2$I ->> %3$L' else '%1$s.%2$I::text' end as reading
      from unnest(watched) as item
  ) as parsed
$source$;
revoke all on function omnicdc.watch_source(text[]) from public;
