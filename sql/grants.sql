-- The rights of daemons and clients on omnicdc's tables. Renewed by every install; each function's file has its own grants.
grant usage on schema omnicdc to omnicdc_daemon, omnicdc_client;
grant select on omnicdc.migration, omnicdc.source, omnicdc.change, omnicdc.consumer, omnicdc.history, omnicdc.allowed_publication,
  omnicdc.quarantine, omnicdc.addition, omnicdc.setting
  to omnicdc_daemon, omnicdc_client;
grant insert, update on omnicdc.consumer to omnicdc_daemon;
grant insert on omnicdc.history to omnicdc_daemon;
grant insert, update, delete on omnicdc.quarantine to omnicdc_daemon;

-- A role that can read every other table and sequence of this database is used for backups, and keeps that ability: pg_dump reads all
-- tables, and fails at the first one that it may not read. Groups first; then their members need no grant of their own.
-- The next install grants to roles that were created later.
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
                          -- pg_dump does not dump tables of extensions.
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
