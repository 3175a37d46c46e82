-- omnicdc.capture_fault(): what is wrong with the capture, in a sentence; NULL when nothing is.
--
-- Looks at the table, the three triggers (on every partition, too), whether they fire always, and the trigger
-- function's text.   Tables written: none.
create or replace function omnicdc.capture_fault() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $fault$
declare
  installed omnicdc.watch;
  part regclass;
  fault text;
begin
  select * into installed from omnicdc.watch;
  if not found then
    return 'no table is watched';
  end if;
  if to_regclass(installed.target) is null then
    return format('table %s does not exist', installed.target);
  end if;
  for part in
    select to_regclass(installed.target)
    union
    select t.relid from pg_partition_tree(to_regclass(installed.target)) t
  loop
    select case
             when t.tgname is null then format('trigger %s is missing on %s', wanted.name, part)
             when t.tgfoid <> wanted.function then format('trigger %s on %s calls another function', wanted.name, part)
             when t.tgenabled = 'D' then format('trigger %s is disabled on %s', wanted.name, part)
             when t.tgenabled <> 'A' then format('trigger %s on %s does not fire always', wanted.name, part)
           end
      into fault
      from (values ('omnicdc_note_row', to_regprocedure('omnicdc.note_row()')),
                   ('omnicdc_note_update', to_regprocedure('omnicdc.note_row()')),
                   ('omnicdc_note_truncate', to_regprocedure('omnicdc.note_statement()'))) as wanted (name, function)
      left join pg_trigger t on t.tgrelid = part and t.tgname = wanted.name
     where (part = to_regclass(installed.target) or wanted.name <> 'omnicdc_note_truncate')
       and (t.tgname is null or t.tgenabled <> 'A' or t.tgfoid <> wanted.function)
     limit 1;
    if fault is not null then
      return fault;
    end if;
  end loop;
  if (select md5(p.prosrc) from pg_proc p where p.oid = to_regprocedure('omnicdc.note_row()')) is distinct from installed.source_hash then
    return 'function omnicdc.note_row() was edited';
  end if;
  return null;
end
$fault$;
revoke all on function omnicdc.capture_fault() from public;
grant execute on function omnicdc.capture_fault() to omnicdc_daemon, omnicdc_client;
