-- omnicdc.watch(target, watched): captures a table: writes the function for UPDATE, sets the triggers, grants reading.
--
-- target: a table with a uuid column `id`.   watched: columns, or column.key for a key of a json column.
-- Result: true if anything was changed; OC001 for a table that cannot be captured.   Tables written: omnicdc.watch,
-- and omnicdc.change, by which consumers look at everything if anything was changed.
-- Repeat: harmless; an unchanged capture takes no lock on the table, and has its grants renewed. Watching another table
-- leaves the first.
-- Runs as its caller, who must own the table. Locks the table against writers for an instant: set lock_timeout.
create or replace function omnicdc.watch(target regclass, watched text[]) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $watch$
declare
  part regclass;
  full_name text := (select format('%I.%I', n.nspname, c.relname)
                       from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
  source text := omnicdc.watch_source(watched);
  previous omnicdc.watch;
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
  select * into previous from omnicdc.watch;
  if found and previous.target = full_name and previous.watched = watch.watched
     and split_part(previous.source_hash, ' ', 2) = omnicdc.hash_of(source) and omnicdc.capture_fault() is null
     and not exists (select from omnicdc.watched_parts() p
                      where not exists (select from pg_trigger t
                                         where t.tgrelid = p.part and t.tgname = 'omnicdc_note_truncate')) then
    perform omnicdc.grant_reading(target, watched);
    return false;
  end if;

  if previous.target <> full_name and to_regclass(previous.target) is not null then
    perform omnicdc.unwatch(to_regclass(previous.target));
  end if;
  -- A table that was renamed took its triggers along; PostgreSQL would refuse it as a partition of its successor.
  for part in select c.oid from pg_trigger t join pg_class c on c.oid = t.tgrelid
               where t.tgfoid = 'omnicdc.note_row()'::regprocedure and t.tgparentid = 0 and c.oid <> target
                 and c.oid not in (select p.relid from pg_partition_tree(target) p)
                 and c.relnamespace <> 'omnicdc'::regnamespace and pg_has_role(c.relowner, 'usage') loop
    perform omnicdc.unwatch(part);
  end loop;
  execute format('create or replace function omnicdc.note_update() returns trigger language plpgsql '
                 'security definer set search_path = pg_catalog, pg_temp set row_security = on as %L', source);
  alter function omnicdc.note_update() owner to omnicdc_owner;
  revoke all on function omnicdc.note_update() from public;

  -- No WHEN looks at the row: naming a column would make CMP's DROP COLUMN fail, and the whole row is put together from
  -- all that is stored apart, which takes its time and fails CMP's write where the disk has lost a part.
  -- The constant in each WHEN makes the triggers depend on the log: dropped by hand, it would fail CMP's every write.
  -- So PostgreSQL refuses to drop it alone, and drops the triggers with it if told to CASCADE.
  execute format('create or replace trigger omnicdc_note_row after insert or delete on %s '
                 'for each row when (null::omnicdc.change is null) execute function omnicdc.note_row()', full_name);
  execute format('create or replace trigger omnicdc_note_update after update on %s '
                 'for each row when (null::omnicdc.change is null) '
                 'execute function omnicdc.note_update()', full_name);
  -- ALWAYS: the apply workers of logical replication fire no other triggers.
  execute format('alter table %s enable always trigger omnicdc_note_row, enable always trigger omnicdc_note_update', full_name);
  -- PostgreSQL hands row triggers down to every partition, also to those of tomorrow, but not statement triggers.
  for part in select target union select t.relid from pg_partition_tree(target) t loop
    execute format('create or replace trigger omnicdc_note_truncate after truncate on %s '
                   'for each statement when (null::omnicdc.change is null) execute function omnicdc.note_statement()', part);
    execute format('alter table %s enable always trigger omnicdc_note_truncate', part);
  end loop;
  perform omnicdc.grant_reading(target, watched);

  insert into omnicdc.watch (target, watched, source_hash)
       values (full_name, watch.watched,
               (select string_agg(omnicdc.hash_of(p.prosrc), ' ' order by p.proname) from pg_proc p
                 where p.oid in ('omnicdc.note_row()'::regprocedure, 'omnicdc.note_update()'::regprocedure)))
  on conflict (only_row) do update
     set target = excluded.target, watched = excluded.watched, source_hash = excluded.source_hash,
         installed_at = clock_timestamp();
  -- What was written while nothing was noted, or less, concerns whoever has read the log up to here.
  if exists (select from omnicdc.consumer) then
    perform omnicdc.request_rebuild();
  end if;
  return true;
end
$watch$;
revoke all on function omnicdc.watch(regclass, text[]) from public;
