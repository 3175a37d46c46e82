-- omnicdc.source_fault(id): what is wrong with the capture of one source, in a sentence; NULL if nothing is.
--
-- It checks the table; the three triggers (on every partition, too) and whether they fire always; the trigger functions' text,
-- rights and owner; and what the daemon may read of the table.   id: omnicdc.source.id.   Tables written: none.
create or replace function omnicdc.source_fault(id smallint) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = on
as $fault$
declare
  installed omnicdc.source;
  target regclass;
  kind "char";
  fault text;
begin
  select * into installed from omnicdc.source s where s.id = source_fault.id;
  select r.relation, c.relkind into target, kind
    from omnicdc.watched_relations() r join pg_class c on c.oid = r.relation where r.source = source_fault.id and r.whole;
  if target is null then
    return format('table %s does not exist', installed.target) || coalesce('; its triggers are on ' || omnicdc.triggered_table(source_fault.id), '');
  elsif kind not in ('r', 'p') then
    return format('%s is no table', installed.target) || coalesce('; its triggers are on ' || omnicdc.triggered_table(source_fault.id), '');
  end if;
  select case
           when t.tgname is null then format('trigger %s is missing on %s', wanted.name, r.relation)
           when t.tgfoid <> wanted.function then format('trigger %s on %s calls another function', wanted.name, r.relation)
           when t.tgenabled = 'D' then format('trigger %s is disabled on %s', wanted.name, r.relation)
           when t.tgenabled <> 'A' then format('trigger %s on %s does not fire always', wanted.name, r.relation)
           else format('trigger %s on %s logs another source', wanted.name, r.relation)
         end
    into fault
    from omnicdc.watched_relations() r
   cross join (values ('omnicdc_log_row', to_regprocedure(format('omnicdc.log_row_%s()', source_fault.id)), ''),
                      ('omnicdc_log_update', to_regprocedure(format('omnicdc.log_update_%s()', source_fault.id)), ''),
                      ('omnicdc_log_truncate', to_regprocedure('omnicdc.log_statement()'), source_fault.id::text)) as wanted (name, function, argument)
    left join pg_trigger t on t.tgrelid = r.relation and t.tgname = wanted.name
   where r.source = source_fault.id and (t.tgname is null or t.tgenabled <> 'A' or t.tgfoid <> wanted.function or encode(t.tgargs, 'escape') <> case wanted.argument when '' then '' else wanted.argument || '\000' end)
     -- A partition that was added later has no trigger for TRUNCATE; a truncate of it changes the capture's fingerprint.
     and (r.whole or t.tgname is not null or wanted.name <> 'omnicdc_log_truncate')
   order by r.relation, wanted.name
   limit 1;
  if fault is null then
    select format('function omnicdc.%s() was edited', wanted.name) into fault
      from (values (1, format('log_row_%s', source_fault.id)), (2, format('log_update_%s', source_fault.id))) as wanted (number, name)
     where not exists (select from pg_proc p
                        where p.oid = to_regprocedure(format('omnicdc.%s()', wanted.name))
                          and omnicdc.hash_of(p.prosrc) = split_part(installed.source_hash, ' ', wanted.number)
                          and p.prosecdef and p.proconfig = array['search_path=pg_catalog, pg_temp', 'row_security=on']
                          and p.proowner = to_regrole('omnicdc_owner'))
     order by wanted.number
     limit 1;
  end if;
  if fault is null then
    select format('role omnicdc_daemon has no %s on %s', lacking.privilege, lacking.thing) into fault
      from (select 1 as rank, 'USAGE' as privilege, format('schema %I', n.nspname) as thing
              from pg_namespace n
             where n.oid = (select c.relnamespace from pg_class c where c.oid = target)
               and not has_schema_privilege('omnicdc_daemon', n.oid, 'usage')
            union all
            select 2, 'SELECT', format('column %I of %s', a.attname, target)
              from pg_attribute a
             where a.attrelid = target and a.attnum > 0 and not a.attisdropped
               and a.attname in (select split_part(item, '.', 1) from unnest(installed.watched || installed.key_column) as item)
               and not has_column_privilege('omnicdc_daemon', target, a.attnum, 'select')) as lacking
     order by lacking.rank, lacking.thing, lacking.privilege
     limit 1;
  end if;
  return coalesce(fault, omnicdc.unwatchable(target, installed.watched));
end
$fault$;
revoke all on function omnicdc.source_fault(smallint) from public;
