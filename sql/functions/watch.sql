-- omnicdc.watch(source, target, key, watched, for_clients, required): captures a table as a source: writes its trigger functions, creates the triggers, grants reading.
--
-- source: the name that registries have for the table.   target: the table.   key: the uuid column that a registry needs, or NULL: the
-- primary key, if it is one column of type uuid, integer or text.   watched: columns, or column.key for a key of a json column.
-- for_clients: what of it omnicdc_client may read, besides omnicdc_daemon.   required: see omnicdc.source.required.
-- What was watched of the source before stays watched, because another registry host may read it; omnicdc.release_source() ends it.
-- Result: true if anything was changed; raises OC001 for a table that cannot be captured.   Tables written: omnicdc.source,
-- and omnicdc.change: if anything was changed, consumers are asked to read everything.
-- Repeat: harmless; an unchanged capture takes no lock on the table, and its grants are renewed. Another table as the same source is
-- refused as long as the first one has the triggers: another host may read it.
-- Runs with the rights of its caller, which must own the table. Locks the table against writers for an instant: set lock_timeout.
create or replace function omnicdc.watch(source text, target regclass, key text, watched text[], for_clients text[], required boolean)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $watch$
declare
  full_name text := (select format('%I.%I', n.nspname, c.relname)
                       from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
  previous omnicdc.source;
  number smallint;
  other smallint;
  key_column text;
  key_type text;
  fields text[];
  columns text[];
  client_columns text[];
  missing text;
  row_text text;
  update_text text;
  relation regclass;
begin
  if (select c.relkind not in ('r', 'p') or c.relpersistence = 't' from pg_class c where c.oid = target) then
    raise exception 'omnicdc: % is not an ordinary table', full_name using errcode = 'OC001';
  end if;
  select * into previous from omnicdc.source s where s.name = watch.source;
  -- Its policies would hide rows from the daemon. A table that is captured already, and omnicdc's own sources, may have them: then
  -- the daemon's role needs BYPASSRLS.
  if key is null and previous.target is distinct from full_name and (select c.relrowsecurity from pg_class c where c.oid = target) then
    raise exception 'omnicdc: table % has row-level security, which may hide rows from omnicdc', full_name
      using errcode = 'OC001', hint = format('alter table %s disable row level security, or read a table without it', full_name);
  end if;
  select k.key_column, k.key_type into key_column, key_type from omnicdc.source_key(target, key) k;
  select string_agg(quote_ident(wanted.name), ', ' order by wanted.name) into missing
    from (select distinct split_part(item, '.', 1) as name from unnest(watched) as item) as wanted
   where not exists (select from pg_attribute a
                      where a.attrelid = target and a.attname = wanted.name and not a.attisdropped);
  if missing is not null then
    raise exception 'omnicdc: table % has no column %', full_name, missing using errcode = 'OC001';
  end if;
  -- A column that was dropped since is not watched any more.
  fields := array(select distinct item collate "C"
                    from unnest(watched || case when previous.target = full_name then previous.watched else '{}' end) as item
                   where exists (select from pg_attribute a where a.attrelid = target and a.attname = split_part(item, '.', 1)
                                                              and not a.attisdropped)
                     and item is distinct from key_column  -- a change of the key is logged in any case
                   order by 1);
  missing := omnicdc.unwatchable(target, fields);
  if missing is not null then
    raise exception 'omnicdc: %', missing using errcode = 'OC001', hint = 'alter it, or watch another table';
  end if;
  if exists (select from omnicdc.source s where s.target = full_name and s.name <> watch.source) then
    raise exception 'omnicdc: table % is captured as another source already', full_name using errcode = 'OC001';
  end if;
  -- If the row of the source was lost, the table's triggers still have its number. Else not the number of a source that was
  -- released, while the log has rows of it.
  number := coalesce(previous.id,
                     (select split_part(p.proname, '_', 3)::smallint
                        from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                       where t.tgrelid = target and p.pronamespace = 'omnicdc'::regnamespace and p.proname ~ '^log_(row|update)_[0-9]+$'
                         and not exists (select from omnicdc.source s where p.proname ~ ('_' || s.id || '$'))
                       limit 1),
                     (select n from generate_series(1, 32767) as n
                                    where not exists (select from omnicdc.source s where s.id = n)
                                      and not exists (select from omnicdc.change c where c.source = n)
                                    limit 1));
  if previous.target <> full_name and exists (select from omnicdc.watched_relations() r join pg_trigger t on t.tgrelid = r.relation
                                               where r.source = number and r.whole
                                                 and t.tgfoid = to_regprocedure(format('omnicdc.log_row_%s()', number))) then
    raise exception 'omnicdc: source % is table % already, which another host may read', watch.source, previous.target
      using errcode = 'OC001',
            hint = format('set `tables: {%1$s: %2$s}` here; or, if it shall be another table on every host, `omnicdc source release %1$s` first',
                          watch.source, previous.target);
  end if;
  -- PostgreSQL copies a table's triggers to its partitions, so one of two such sources would have the other's.
  select r.source into other
    from omnicdc.watched_relations() r
   where r.source <> number
     and r.relation in (select t.relid from pg_partition_tree(target) t union select a.relid from pg_partition_ancestors(target) a)
   limit 1;
  if other is not null then
    raise exception 'omnicdc: table % is a partition of another source, or has one as a partition: %', full_name,
                    (select s.name || ', ' || s.target from omnicdc.source s where s.id = other)
      using errcode = 'OC001', hint = 'read one of the two in all registries';
  end if;
  row_text := omnicdc.log_row_text(number, key_column, key_type);
  update_text := omnicdc.log_update_text(number, key_column, key_type, fields);
  columns := array(select distinct split_part(item, '.', 1) from unnest(fields || key_column) as item where item is not null);
  client_columns := array(select distinct split_part(item, '.', 1)
                            from unnest(for_clients || case when for_clients <> '{}' then key_column end) as item
                           where item is not null);
  if previous.target = full_name and previous.watched = fields and previous.required = watch.required
     and previous.source_hash = concat_ws(' ', omnicdc.hash_of(row_text), omnicdc.hash_of(update_text))
     and omnicdc.source_fault(number) is null
     and not exists (select from omnicdc.watched_relations() r
                      where r.source = number
                        and not exists (select from pg_trigger t
                                         where t.tgrelid = r.relation and t.tgname = 'omnicdc_log_truncate')) then
    perform omnicdc.grant_reading(target, columns, 'omnicdc_daemon');
    perform omnicdc.grant_reading(target, client_columns, 'omnicdc_client');
    return false;
  end if;

  -- A table that was renamed kept its triggers; with them, PostgreSQL would refuse it as a partition of the new table.
  for relation in select c.oid from pg_trigger t join pg_class c on c.oid = t.tgrelid
               where t.tgfoid = to_regprocedure(format('omnicdc.log_row_%s()', number)) and t.tgparentid = 0 and c.oid <> target
                 and c.oid not in (select p.relid from pg_partition_tree(target) p)
                 and pg_has_role(c.relowner, 'usage') loop
    perform omnicdc.unwatch(relation);
  end loop;
  perform omnicdc.create_trigger_function(format('log_row_%s', number), row_text);
  perform omnicdc.create_trigger_function(format('log_update_%s', number), update_text);

  -- No WHEN reads the row. Naming a column would make CMP's DROP COLUMN fail; and comparing whole rows fetches all values that are
  -- stored out of line, which is slow, and makes CMP's write fail where the disk has lost one of them.
  -- The constant in each WHEN makes the triggers depend on the log: if it were dropped by hand, each write of CMP would fail.
  -- So PostgreSQL refuses to drop the log alone, and with CASCADE it drops the triggers as well.
  execute format('create or replace trigger omnicdc_log_row after insert or delete on %s '
                 'for each row when (null::omnicdc.change is null) execute function omnicdc.log_row_%s()', full_name, number);
  execute format('create or replace trigger omnicdc_log_update after update on %s '
                 'for each row when (null::omnicdc.change is null) '
                 'execute function omnicdc.log_update_%s()', full_name, number);
  -- ALWAYS: the apply workers of logical replication do not fire other triggers.
  execute format('alter table %s enable always trigger omnicdc_log_row, enable always trigger omnicdc_log_update', full_name);
  -- PostgreSQL copies row triggers to every partition, also to one that is added later, but not statement triggers.
  for relation in select target union select t.relid from pg_partition_tree(target) t loop
    execute format('create or replace trigger omnicdc_log_truncate after truncate on %s for each statement '
                   'when (null::omnicdc.change is null) execute function omnicdc.log_statement(%s)', relation, number);
    execute format('alter table %s enable always trigger omnicdc_log_truncate', relation);
  end loop;
  perform omnicdc.grant_reading(target, columns, 'omnicdc_daemon');
  perform omnicdc.grant_reading(target, client_columns, 'omnicdc_client');

  insert into omnicdc.source (id, name, target, key_column, key_type, watched, required, source_hash)
       values (number, watch.source, full_name, key_column, key_type, fields, watch.required,
               concat_ws(' ', omnicdc.hash_of(row_text), omnicdc.hash_of(update_text)))
  on conflict (id) do update
     set target = excluded.target, key_column = excluded.key_column, key_type = excluded.key_type, watched = excluded.watched,
         required = excluded.required, source_hash = excluded.source_hash, installed_at = clock_timestamp();
  -- What was written without a trigger, or before more columns were watched, is not in the log: consumers read everything.
  if exists (select from omnicdc.consumer) then
    perform omnicdc.request_rebuild();
  end if;
  return true;
end
$watch$;
revoke all on function omnicdc.watch(text, regclass, text, text[], text[], boolean) from public;
