-- omnicdc.watch_source(watched): the text of the row trigger's function for a watch list.
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
    if tg_op <> 'INSERT' then old_id := old.id; end if;
    if tg_op <> 'DELETE' then new_id := new.id; end if;
    if tg_op = 'UPDATE' and old_id = new_id then
      changed := array_remove(array[
        %s
      ], null);
      if changed = '{}' then return null; end if;
    end if;
  exception when others then
    changed := null;
  end;
  insert into omnicdc.change (project_id, op, fields) values (coalesce(new_id, old_id), lower(tg_op collate "C"), changed);
  if old_id <> new_id then
    insert into omnicdc.change (project_id, op) values (old_id, lower(tg_op collate "C"));
  end if;
  -- Asked here as well as in ring(): a call costs more than the answer.
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
