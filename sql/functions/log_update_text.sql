-- omnicdc.log_update_text(source, key_column, key_type, watched): the text of a source's trigger function for UPDATE, for a watch list.
--
-- source, key_column, key_type: as in log_row_text().   watched: columns, or column.key for a key of a json column.
-- Result: a plpgsql body, which logs the row's key and the watched columns that changed, or nothing if none did.   Tables written: none.
-- Where writers are recorded, the row has them too (current_writer()); otherwise the text holds nothing of it.
-- The table's owner can give a column a user-defined type (an oid from 16384 on), and that type casts with code of their own.
-- So no cast of such a type is used, not even in a branch that is not taken, because the planner evaluates those as well.
create or replace function omnicdc.log_update_text(source smallint, key_column text, key_type text, watched text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $text$
  select format($body$
declare
  old_key %6$s;
  new_key %6$s;
  key text;
  changed text[];
  row_was_read boolean := false;
%8$s  may_wait boolean;
  forced boolean := true;
begin
  -- Everything that may fail while the write itself does not: reading the row (CMP's schema was changed, a value is damaged), and
  -- taking a lock where the lock table is full. Nothing is written in here: that would cost a subtransaction id for each row.
  begin
    forced := row_security_active('omnicdc.change'::regclass);
%5$s    if %1$s then
      changed := array_remove(array[
        %2$s
      ]::text[], null);
    else
      changed := array_remove(array[
        %3$s
      ]::text[], null);
    end if;
    if changed = '{}' and %7$s then
      return null;
    end if;
    row_was_read := true;
%9$s    may_wait := omnicdc.consumer_may_wait() and not omnicdc.notified();
  exception when others then
    if not row_was_read then
      changed := null;
      may_wait := true;
    end if;
    -- Without the locks: no notification, as for INSERT.
  end;
  key := new_key::text;  -- not in the INSERT, which PostgreSQL prepares again for each row
  if forced then
    perform omnicdc.%11$s(%4$s::smallint, case when old_key <> new_key then array[new_key, old_key] else array[new_key] end::text[],
                                   'update', case when old_key <> new_key then null else changed end%10$s);
  elsif old_key <> new_key then
    insert into omnicdc.change (source, key, op%10$s) values (%4$s, key, 'update'%10$s), (%4$s, old_key::text, 'update'%10$s);
  else
    insert into omnicdc.change (source, key, op, fields%10$s) values (%4$s, key, 'update', changed%10$s);
  end if;
  if may_wait then
    perform omnicdc.notify_consumers();
  end if;
  return null;
end
$body$,
    coalesce(string_agg(distinct format($own$pg_typeof(old.%I)::oid < '16384'::oid$own$, column_name), ' and '), 'true'),
    string_agg(
      -- Compared as text byte by byte: a collation or a type for which two spellings are equal would hide a change.
      format('case when (%s) collate "C" is distinct from (%s) collate "C" then %L end',
             format(reading, 'old', column_name, json_key), format(reading, 'new', column_name, json_key), item),
      E',\n        ' order by item collate "C"),
    string_agg(
      -- The whole column, as the type's own output function writes it.
      format($shown$case when format('%%L', old.%1$I) collate "C" is distinct from format('%%L', new.%1$I) collate "C" then %2$L end$shown$,
             column_name, item),
      E',\n        ' order by item collate "C"),
    source,
    case when key_column is null then '' else format($key$    if pg_typeof(old.%1$I)::oid < '16384'::oid then
      old_key := old.%1$I;
      new_key := new.%1$I;
    end if;
$key$, key_column) end,
    case key_type when 'uuid' then 'uuid' when 'integer' then 'bigint' else 'text collate "C"' end,
    -- Of a key that was not read it is not known whether it is the same; without a key, what is not watched does not matter.
    case when key_column is null then 'true' else 'old_key = new_key' end,
    case when omnicdc.current_writer() is null then '' else E'  writer text[];\n' end,
    case when omnicdc.current_writer() is null then '' else format(E'    writer := %s;\n', omnicdc.current_writer()) end,
    case when omnicdc.current_writer() is null then '' else ', writer' end,
    case when omnicdc.current_writer() is null then 'log_if_allowed' else 'log_with_writer_if_allowed' end)
  from (
    select item,
           split_part(item, '.', 1) as column_name,
           substr(item, length(split_part(item, '.', 1)) + 2) as json_key,
           case when position('.' in item) > 0 then '%1$s.%2$I ->> %3$L' else '%1$s.%2$I::text' end as reading
      from unnest(watched) as item
  ) as parsed
$text$;
revoke all on function omnicdc.log_update_text(smallint, text, text, text[]) from public;
