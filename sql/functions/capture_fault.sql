-- omnicdc.capture_fault(): what is wrong with the capture, in a sentence; NULL when nothing is.
--
-- Looks at the table, the three triggers (on every partition, too), whether they fire always, and the trigger
-- functions' text, rights and owner.   Tables written: none.
-- The table is looked up in the catalogs: to_regclass() fails in a schema that omnicdc_owner may not use.
create or replace function omnicdc.capture_fault() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $fault$
declare
  installed omnicdc.watch;
  target regclass;
  fault text;
begin
  select * into installed from omnicdc.watch;
  if not found then
    return 'no table is watched';
  end if;
  select c.oid into target
    from parse_ident(installed.target) as name
    join pg_namespace n on n.nspname = name[1]
    join pg_class c on c.relnamespace = n.oid and c.relname = name[2];
  if target is null then
    return format('table %s does not exist', installed.target);
  end if;
  select case
           when t.tgname is null then format('trigger %s is missing on %s', wanted.name, part)
           when t.tgfoid <> wanted.function then format('trigger %s on %s calls another function', wanted.name, part)
           when t.tgenabled = 'D' then format('trigger %s is disabled on %s', wanted.name, part)
           else format('trigger %s on %s does not fire always', wanted.name, part)
         end
    into fault
    from (select target union select p.relid from pg_partition_tree(target) p) as parts (part)
   cross join (values ('omnicdc_note_row', to_regprocedure('omnicdc.note_row()')),
                      ('omnicdc_note_update', to_regprocedure('omnicdc.note_update()')),
                      ('omnicdc_note_truncate', to_regprocedure('omnicdc.note_statement()'))) as wanted (name, function)
    left join pg_trigger t on t.tgrelid = part and t.tgname = wanted.name
   where t.tgname is null or t.tgenabled <> 'A' or t.tgfoid <> wanted.function
   order by part, wanted.name
   limit 1;
  if fault is null then
    select format('function omnicdc.%s() was edited', wanted.name) into fault
      from (values (1, 'note_row'), (2, 'note_update')) as wanted (place, name)
     where not exists (select from pg_proc p
                        where p.oid = to_regprocedure(format('omnicdc.%s()', wanted.name))
                          and md5(p.prosrc) = split_part(installed.source_hash, ' ', wanted.place)
                          and p.prosecdef and p.proconfig = array['search_path=pg_catalog, pg_temp']
                          and p.proowner = to_regrole('omnicdc_owner'))
     order by wanted.place
     limit 1;
  end if;
  return fault;
end
$fault$;
revoke all on function omnicdc.capture_fault() from public;
grant execute on function omnicdc.capture_fault() to omnicdc_daemon, omnicdc_client;
