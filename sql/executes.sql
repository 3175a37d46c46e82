-- Lets omnicdc's roles call the functions of PostgreSQL that they need, where the right was taken from PUBLIC.
-- Run by the installer: only of functions that it owns, as a superuser does. What is still lacking then, omnicdc.capture_fault() tells.
do $executes$
declare
  lacking pg_catalog.record;
begin
  for lacking in
    select n.role, n.function::pg_catalog.regprocedure as function
      from omnicdc.lacking_functions() n
      join pg_catalog.pg_proc p on p.oid operator(pg_catalog.=) n.function
     where pg_catalog.pg_has_role(p.proowner, 'usage')
  loop
    execute pg_catalog.format('grant execute on function %s to %I', lacking.function, lacking.role);
  end loop;
end
$executes$;
