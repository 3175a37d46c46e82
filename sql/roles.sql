-- The three roles, none of which can log in. They belong to the cluster, so they may exist already.
--   omnicdc_owner   owns the schema and the trigger functions
--   omnicdc_daemon  granted to the login role of a registry host
--   omnicdc_client  granted to whoever waits and verifies (Genesis)
do $roles$
declare
  missing text;
begin
  foreach missing in array array['omnicdc_owner', 'omnicdc_daemon', 'omnicdc_client'] loop
    if to_regrole(missing) is null then
      execute format('create role %I nologin', missing);
    end if;
  end loop;
  -- Needed to create things in the owner's name; from PostgreSQL 16 on, creating a role does not include using it.
  if not pg_has_role(current_user, 'omnicdc_owner', 'usage') then
    execute format('grant omnicdc_owner to %I', current_user);
  end if;
end
$roles$;

do $schema$
begin
  if to_regnamespace('omnicdc') is null then
    create schema omnicdc authorization omnicdc_owner;
  end if;
end
$schema$;
