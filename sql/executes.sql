-- Lets omnicdc's roles call the functions of PostgreSQL that they need, where the right was revoked from PUBLIC.
-- Run with the installer's rights, for functions that the installer owns, as a superuser does. omnicdc.capture_fault() reports what is still lacking.
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
