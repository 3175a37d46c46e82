-- Removes everything that install put into the database, the log included. The roles stay, because they belong to the cluster and
-- may be granted to login roles. CMP's tables are left as they were before.
-- Calls none of omnicdc's functions: it is often run by a superuser, and the functions may have been replaced.
do $uninstall$
declare
  path pg_catalog.text := pg_catalog.current_setting('search_path');
  relation pg_catalog.regclass;
  target pg_catalog.regclass;
  called record;
begin
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  if to_regclass('omnicdc.source') is not null then
    for target in select to_regclass(s.target) from omnicdc.source s where to_regclass(s.target) is not null order by s.id loop
      if (select c.relkind in ('r', 'p') from pg_class c where c.oid = target) then
        -- First the table, as writers do: DROP TRIGGER alone would lock the partitions before their table.
        execute format('lock table %s in access exclusive mode', target);
        execute format('drop trigger if exists omnicdc_log_row on %s', target);
        execute format('drop trigger if exists omnicdc_log_update on %s', target);
        for relation in select target union select t.relid from pg_partition_tree(target) t loop
          execute format('drop trigger if exists omnicdc_log_truncate on %s', relation);
        end loop;
      end if;
      execute format('revoke select on %s from omnicdc_daemon, omnicdc_client', target);
      execute format('revoke usage on schema %I from omnicdc_daemon, omnicdc_client',
                     (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target));
    end loop;
  end if;
  for called in
    select distinct p.oid::regprocedure as function, r.rolname as role
      from pg_proc p, aclexplode(p.proacl) a join pg_roles r on r.oid = a.grantee
     where p.pronamespace = 'pg_catalog'::regnamespace and pg_has_role(p.proowner, 'usage')
       and r.rolname in ('omnicdc_owner', 'omnicdc_daemon', 'omnicdc_client')
  loop
    execute format('revoke execute on function %s from %I', called.function, called.role);
  end loop;
  perform set_config('search_path', path, true);
end
$uninstall$;
drop schema if exists omnicdc cascade;
