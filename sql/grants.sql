-- What daemons and clients may do with omnicdc's tables. Renewed at every install; the functions grant for themselves.
grant usage on schema omnicdc to omnicdc_daemon, omnicdc_client;
grant select on omnicdc.migration, omnicdc.watch, omnicdc.change, omnicdc.consumer, omnicdc.history, omnicdc.allowed_publication,
  omnicdc.quarantine
  to omnicdc_daemon, omnicdc_client;
grant insert, update on omnicdc.consumer to omnicdc_daemon;
grant insert on omnicdc.history to omnicdc_daemon;
grant insert, update, delete on omnicdc.quarantine to omnicdc_daemon;

-- Whoever can read every other table and sequence of this database can back it up, and must still be able to: pg_dump reads all
-- tables, and fails at the first one that it may not read. Groups first, then nothing is left to grant to their members.
-- A role that comes later is found by the next install.
do $backups$
declare
  path pg_catalog.text := pg_catalog.current_setting('search_path');
  reader pg_catalog.name;
begin
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  for reader in select r.rolname from pg_roles r where r.rolname not like 'pg\_%' and r.rolname not like 'omnicdc\_%' order by r.rolcanlogin, r.rolname loop
    if exists (select from pg_class c where c.relnamespace = 'omnicdc'::regnamespace and c.relkind in ('r', 'S')
                                        and not has_table_privilege(reader, c.oid, 'select'))
       and not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                        where c.relkind in ('r', 'p', 'S') and c.relpersistence <> 't'
                          and n.nspname not in ('omnicdc', 'information_schema') and n.nspname not like 'pg\_%'
                          and not (has_schema_privilege(reader, n.oid, 'usage') and has_table_privilege(reader, c.oid, 'select'))
                          -- pg_dump leaves the tables of extensions to them.
                          and not exists (select from pg_depend d
                                           where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'))
    then
      execute format('grant usage on schema omnicdc to %I', reader);
      execute format('grant select on all tables in schema omnicdc to %I', reader);
      execute format('grant select on all sequences in schema omnicdc to %I', reader);
    end if;
  end loop;
  perform set_config('search_path', path, true);
end
$backups$;
