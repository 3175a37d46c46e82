-- omnicdc.capture_fault(): what is wrong with the capture, in a sentence; NULL if nothing is.
--
-- It checks row-level security of omnicdc's tables, what the daemon may read, write and call, and each source (source_fault()).
-- A table that was dropped is a fault only if the source is required: there is nothing to write to, and the registries that read it are held.
-- omnicdc.capture_remedy(fault) returns what to do about it.   Tables written: none.
create or replace function omnicdc.capture_fault() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = on
as $fault$
declare
  -- First: a policy may hide everything that is read below.
  fault text := (select r.fault from omnicdc.row_security_fault() r);
begin
  if fault is null and not exists (select from omnicdc.source) then
    return 'no table is watched';
  end if;
  if fault is null then
    select f.fault into fault
      from omnicdc.source s cross join lateral omnicdc.source_fault(s.id) as f (fault)
     where f.fault is not null
       and (s.required or exists (select from omnicdc.watched_relations() r where r.source = s.id)) order by s.id limit 1;
  end if;
  if fault is null then
    select format('role omnicdc_daemon has no %s on %s', lacking.privilege, lacking.thing) into fault
      from (select 1 as rank, 'USAGE' as privilege, 'schema omnicdc' as thing
             where not has_schema_privilege('omnicdc_daemon', 'omnicdc', 'usage')
            union all
            select 2, wanted.privilege, 'omnicdc.' || wanted.name
              from (values ('migration', 'SELECT'), ('source', 'SELECT'), ('change', 'SELECT'),
                           ('consumer', 'SELECT'), ('consumer', 'INSERT'), ('consumer', 'UPDATE'),
                           ('history', 'SELECT'), ('history', 'INSERT')) as wanted (name, privilege)
             where not has_table_privilege('omnicdc_daemon', to_regclass('omnicdc.' || wanted.name), wanted.privilege)) as lacking
     order by lacking.rank, lacking.thing, lacking.privilege
     limit 1;
  end if;
  if fault is null then
    select format('role %s may not call %s', n.role, n.function::regprocedure) into fault
      from omnicdc.lacking_functions() n where not n.optional limit 1;
  end if;
  return fault;
end
$fault$;
revoke all on function omnicdc.capture_fault() from public;
grant execute on function omnicdc.capture_fault() to omnicdc_daemon, omnicdc_client;
