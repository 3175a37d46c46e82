-- omnicdc.watch(target, watched): captures a table: writes the function for UPDATE, creates the triggers, grants reading. It becomes source 1.
--
-- target: a table with a uuid column `id`.   watched: columns, or column.key for a key of a json column.
-- Result: true if anything was changed; raises OC001 for a table that cannot be captured.   Tables written: omnicdc.source,
-- and omnicdc.change: if anything was changed, consumers are asked to read everything.
-- Repeat: harmless; an unchanged capture takes no lock on the table, and its grants are renewed. Watching another table
-- ends the capture of the first.
-- Runs with the rights of its caller, which must own the table. Locks the table against writers for an instant: set lock_timeout.
create or replace function omnicdc.watch(target regclass, watched text[]) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $watch$
declare
  relation regclass;
  full_name text := (select format('%I.%I', n.nspname, c.relname)
                       from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
  body text := omnicdc.watch_source(watched);
  previous omnicdc.source;
  missing text;
begin
  if (select c.relkind not in ('r', 'p') or c.relpersistence = 't' from pg_class c where c.oid = target) then
    raise exception 'omnicdc: % is not an ordinary table', full_name using errcode = 'OC001';
  end if;
  if (select a.atttypid from pg_attribute a where a.attrelid = target and a.attname = 'id' and not a.attisdropped)
     is distinct from 'uuid'::regtype then
    raise exception 'omnicdc: table % needs a column "id" of type uuid', full_name using errcode = 'OC001';
  end if;
  select string_agg(quote_ident(wanted.name), ', ' order by wanted.name) into missing
    from (select distinct split_part(item, '.', 1) as name from unnest(watched) as item) as wanted
   where not exists (select from pg_attribute a
                      where a.attrelid = target and a.attname = wanted.name and not a.attisdropped);
  if missing is not null then
    raise exception 'omnicdc: table % has no column %', full_name, missing using errcode = 'OC001';
  end if;
  missing := omnicdc.unwatchable(target, watched);
  if missing is not null then
    raise exception 'omnicdc: %', missing using errcode = 'OC001', hint = 'alter it, or watch another table';
  end if;
  select * into previous from omnicdc.source where id = 1;
  if found and previous.target = full_name and previous.watched = watch.watched
     and split_part(previous.source_hash, ' ', 2) = omnicdc.hash_of(body) and omnicdc.capture_fault() is null
     and not exists (select from omnicdc.watched_relations() r
                      where not exists (select from pg_trigger t
                                         where t.tgrelid = r.relation and t.tgname = 'omnicdc_log_truncate')) then
    perform omnicdc.grant_reading(target, watched);
    return false;
  end if;

  if previous.target <> full_name and to_regclass(previous.target) is not null then
    perform omnicdc.unwatch(to_regclass(previous.target));
  end if;
  -- A table that was renamed kept its triggers; with them, PostgreSQL would refuse it as a partition of the new table.
  for relation in select c.oid from pg_trigger t join pg_class c on c.oid = t.tgrelid
               where t.tgfoid = 'omnicdc.log_row()'::regprocedure and t.tgparentid = 0 and c.oid <> target
                 and c.oid not in (select p.relid from pg_partition_tree(target) p)
                 and c.relnamespace <> 'omnicdc'::regnamespace and pg_has_role(c.relowner, 'usage') loop
    perform omnicdc.unwatch(relation);
  end loop;
  execute format('create or replace function omnicdc.log_update() returns trigger language plpgsql '
                 'security definer set search_path = pg_catalog, pg_temp set row_security = on as %L', body);
  alter function omnicdc.log_update() owner to omnicdc_owner;
  revoke all on function omnicdc.log_update() from public;

  -- No WHEN reads the row. Naming a column would make CMP's DROP COLUMN fail; and comparing whole rows fetches all values that are
  -- stored out of line, which is slow, and makes CMP's write fail where the disk has lost one of them.
  -- The constant in each WHEN makes the triggers depend on the log: if it were dropped by hand, each write of CMP would fail.
  -- So PostgreSQL refuses to drop the log alone, and with CASCADE it drops the triggers as well.
  execute format('create or replace trigger omnicdc_log_row after insert or delete on %s '
                 'for each row when (null::omnicdc.change is null) execute function omnicdc.log_row()', full_name);
  execute format('create or replace trigger omnicdc_log_update after update on %s '
                 'for each row when (null::omnicdc.change is null) '
                 'execute function omnicdc.log_update()', full_name);
  -- ALWAYS: the apply workers of logical replication do not fire other triggers.
  execute format('alter table %s enable always trigger omnicdc_log_row, enable always trigger omnicdc_log_update', full_name);
  -- PostgreSQL copies row triggers to every partition, also to one that is added later, but not statement triggers.
  for relation in select target union select t.relid from pg_partition_tree(target) t loop
    execute format('create or replace trigger omnicdc_log_truncate after truncate on %s '
                   'for each statement when (null::omnicdc.change is null) execute function omnicdc.log_statement()', relation);
    execute format('alter table %s enable always trigger omnicdc_log_truncate', relation);
  end loop;
  perform omnicdc.grant_reading(target, watched);

  insert into omnicdc.source (id, name, target, key_column, watched, source_hash)
       values (1, 'projects', full_name, 'id', watch.watched,
               (select string_agg(omnicdc.hash_of(p.prosrc), ' ' order by p.proname) from pg_proc p
                 where p.oid in ('omnicdc.log_row()'::regprocedure, 'omnicdc.log_update()'::regprocedure)))
  on conflict (id) do update
     set target = excluded.target, key_column = excluded.key_column, watched = excluded.watched, source_hash = excluded.source_hash,
         installed_at = clock_timestamp();
  -- What was written without a trigger, or before more columns were watched, is not in the log: consumers read everything.
  if exists (select from omnicdc.consumer) then
    perform omnicdc.request_rebuild();
  end if;
  return true;
end
$watch$;
revoke all on function omnicdc.watch(regclass, text[]) from public;
