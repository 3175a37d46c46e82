-- omnicdc.watch_source(watched): the text of the trigger function for UPDATE, for a watch list.
--
-- watched: columns, or column.key for a key of a json column.   Result: a plpgsql body.   Tables written: none.
create or replace function omnicdc.watch_source(watched text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $source$
  select format($body$
declare
  old_id uuid;
  new_id uuid;
  changed text[];
begin
  -- The one thing that a change of CMP's schema can break is looking into the row, so that alone is guarded.
  -- Nothing is written in here: a block that writes would cost a subtransaction id for each row.
  begin
    old_id := old.id;
    new_id := new.id;
    changed := array_remove(array[
        %s
      ], null);
  exception when others then
    changed := null;
  end;
  if changed = '{}' and old_id = new_id then
    return null;
  end if;
  if old_id <> new_id then
    insert into omnicdc.change (project_id, op) values (new_id, 'update'), (old_id, 'update');
  else
    insert into omnicdc.change (project_id, op, fields) values (new_id, 'update', changed);
  end if;
  -- As in note_row().
  if omnicdc.someone_may_sleep() and not omnicdc.has_rung() then
    perform omnicdc.ring();
  end if;
  return null;
end
$body$,
    string_agg(
      -- Compared as text byte by byte: a collation or a type that takes two spellings for equal would hide a change.
      format('case when (%s) collate "C" is distinct from (%s) collate "C" then %L end',
             format(reading, 'old', column_name, key), format(reading, 'new', column_name, key), item),
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
