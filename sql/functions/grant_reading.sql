-- omnicdc.grant_reading(target, columns, reader): lets a role read columns of a table; raises OC001 if it then cannot.
--
-- Result: nothing.   Tables written: none.   Repeat: harmless, and takes no lock. Runs with the rights of its caller, which must own the table.
create or replace function omnicdc.grant_reading(target regclass, columns text[], reader text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $grant$
declare
  schema_name text := (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
begin
  if columns = '{}' then
    return;
  end if;
  execute format('grant usage on schema %I to %I', schema_name, reader);
  if not has_schema_privilege(reader, schema_name, 'usage') then
    -- PostgreSQL only warns if the schema belongs to another role.
    raise exception 'omnicdc: schema % is closed to omnicdc_daemon and omnicdc_client', quote_ident(schema_name)
      using errcode = 'OC001',
            hint = format('as its owner: grant usage on schema %I to omnicdc_daemon, omnicdc_client', schema_name);
  end if;
  -- Not repeated: GRANT waits for other sessions' locks on the table.
  if exists (select from unnest(columns) as name where not has_column_privilege(reader, target, name, 'select')) then
    execute format('grant select (%s) on %s to %I',
                   (select string_agg(quote_ident(name), ', ') from unnest(columns) as name), target, reader);
  end if;
end
$grant$;
revoke all on function omnicdc.grant_reading(regclass, text[], text) from public;
