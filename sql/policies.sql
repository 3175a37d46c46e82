-- A policy for each of omnicdc's tables that allows everything to its three roles. It has an effect only if row-level security is
-- enabled: a hardening script or an event trigger may do that to every table, and without a policy PostgreSQL then hides every row.
-- Grants still decide what each role may do. Nothing is locked if the policies exist.
do $policies$
declare
  path pg_catalog.text := pg_catalog.current_setting('search_path');
  lacking pg_catalog.regclass;
begin
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  for lacking in
    select c.oid from pg_class c
     where c.relnamespace = to_regnamespace('omnicdc') and c.relkind = 'r'
       and not exists (
         select from pg_policy p
          where p.polrelid = c.oid and p.polname = 'omnicdc_all' and p.polpermissive and p.polcmd = '*'
            and p.polroles @> array[to_regrole('omnicdc_owner')::oid, to_regrole('omnicdc_daemon')::oid, to_regrole('omnicdc_client')::oid]
            and pg_get_expr(p.polqual, c.oid) = 'true' and pg_get_expr(p.polwithcheck, c.oid) = 'true')
  loop
    if exists (select from pg_policy p where p.polrelid = lacking and p.polname = 'omnicdc_all') then
      execute format('drop policy omnicdc_all on %s', lacking);
    end if;
    execute format('create policy omnicdc_all on %s to omnicdc_owner, omnicdc_daemon, omnicdc_client '
                   'using (true) with check (true)', lacking);
  end loop;
  perform set_config('search_path', path, true);
end
$policies$;
