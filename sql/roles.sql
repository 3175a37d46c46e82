-- The three roles, none of which can log in. They belong to the cluster, so they may exist already.
--   omnicdc_owner   owns the schema and the trigger functions
--   omnicdc_daemon  granted to the login role of a registry host
--   omnicdc_client  granted to the login role of an application that waits and verifies (Genesis)
-- Often run by a superuser, whose search_path may contain schemas in which every role may create objects: so each name is qualified.
do $roles$
declare
  missing pg_catalog.text;
begin
  -- One installation at a time: two would fail at each other's changes of the catalogs.
  perform pg_catalog.pg_advisory_xact_lock(1869442665, 3);
  foreach missing in array array['omnicdc_owner', 'omnicdc_daemon', 'omnicdc_client'] loop
    if pg_catalog.to_regrole(missing) is null then
      execute pg_catalog.format('create role %I nologin', missing);
    end if;
  end loop;
  -- A role with CREATEROLE could have created it before, with a password of its own.
  if (select r.rolcanlogin from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) 'omnicdc_owner') then
    raise exception 'omnicdc: role omnicdc_owner can log in, and could replace what others run'
      using errcode = 'OC001', hint = 'alter role omnicdc_owner nologin';
  end if;
  -- Needed for SET ROLE omnicdc_owner; from PostgreSQL 16 on, creating a role does not include that.
  if not pg_catalog.pg_has_role('omnicdc_owner', 'usage') then
    execute pg_catalog.format('grant omnicdc_owner to %I', current_user::pg_catalog.text);
  end if;
end
$roles$;

do $schema$
declare
  other_owner pg_catalog.text;
begin
  if pg_catalog.to_regnamespace('omnicdc') is null then
    create schema omnicdc authorization omnicdc_owner;
  end if;
  select pg_catalog.pg_get_userbyid(n.nspowner)::pg_catalog.text into other_owner
    from pg_catalog.pg_namespace n
   where n.nspname operator(pg_catalog.=) 'omnicdc'
     and n.nspowner operator(pg_catalog.<>) pg_catalog.to_regrole('omnicdc_owner');
  if other_owner is not null then
    raise exception 'omnicdc: schema omnicdc belongs to %, who could replace what is in it', other_owner
      using errcode = 'OC001', hint = 'if nothing in it is needed, drop it first: drop schema omnicdc cascade';
  end if;
end
$schema$;
