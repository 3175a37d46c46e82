-- omnicdc.source_key(target, wanted): the column whose value the log names a table's rows by, and its kind (uuid, integer or text).
--
-- target: a table.   wanted: the column that a registry needs, or NULL for the primary key.
-- Result: the column and its kind; both NULL if the table's primary key has several columns or a type of another kind: then each
-- change is logged as a change of every row. Raises OC001 for a table without a primary key, or without the wanted column.
-- Only types of PostgreSQL's own count: the text of another type may depend on its owner's code or on the session that writes it.
-- A text key has a deterministic collation, so that two different texts are two rows.   Tables written: none.   Locks: none.
create or replace function omnicdc.source_key(target regclass, wanted text, out key_column text, out key_type text) returns record
language plpgsql stable set search_path = pg_catalog, pg_temp
as $key$
declare
  full_name text := (select format('%I.%I', n.nspname, c.relname)
                       from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
  primary_key smallint;  -- the number of its column, if there is one
  columns smallint;
begin
  if wanted is null then
    select i.indkey[0], i.indnkeyatts into primary_key, columns from pg_index i where i.indrelid = target and i.indisprimary;
    if not found then
      raise exception 'omnicdc: table % has no primary key', full_name
        using errcode = 'OC001', hint = format('alter table %s add primary key (COLUMN)', full_name);
    end if;
    if columns > 1 then
      return;
    end if;
  end if;
  select a.attname,
         case when a.atttypid = 'uuid'::regtype then 'uuid'
              when a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then 'integer'
              when a.atttypid in ('text'::regtype, 'varchar'::regtype)
                   and (select c.collisdeterministic from pg_collation c where c.oid = a.attcollation) then 'text' end
    into key_column, key_type
    from pg_attribute a
   where a.attrelid = target and not a.attisdropped
     and case when wanted is null then a.attnum = primary_key else a.attname = wanted end;
  if wanted is not null and key_type is distinct from 'uuid' then
    raise exception 'omnicdc: table % needs a column "%" of type uuid', full_name, wanted using errcode = 'OC001';
  end if;
  if key_type is null then
    key_column := null;
  end if;
end
$key$;
revoke all on function omnicdc.source_key(regclass, text) from public;
