-- Refuses (OC001) if schema omnicdc, or one of its tables, has anything that omnicdc did not create and that a query of the
-- installer could run. The installer is often a superuser, and a role that was once a member of omnicdc_owner can leave
-- triggers, rules, policies, defaults, constraints, views, functions and operators behind.
-- Reads the catalogs only, before anything else is done. {known} stands for omnicdc's own functions.
do $foreign$
declare
  path pg_catalog.text := pg_catalog.current_setting('search_path');
  known pg_catalog.text[] := {known};
  -- Of development versions before the first release, so that an installation reports that version and not the function.
  former pg_catalog.text[] := array['log_if_allowed(uuid[],text,text[])'];
  schema_oid pg_catalog.oid := pg_catalog.to_regnamespace('omnicdc');
  owner_oid pg_catalog.oid := pg_catalog.to_regrole('omnicdc_owner');
  thing pg_catalog.text;
  remedy pg_catalog.text;
begin
  if schema_oid is null then
    return;
  end if;
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  with
    tables as (
      select c.* from pg_class c where c.relnamespace = schema_oid and c.relkind = 'r'),
    expressions (thing, remedy, tree) as (
      select format('the default of column %I of %s', a.attname, a.attrelid::regclass),
             format('alter table %s alter %I %s', a.attrelid::regclass, a.attname,
                    case when a.atttypid = 'xid8'::regtype and a.attname = 'xid' then 'set default pg_catalog.pg_current_xact_id()'
                         when a.atttypid = 'timestamptz'::regtype and a.attnotnull then 'set default pg_catalog.clock_timestamp()'
                         else 'drop default' end),
             d.adbin::text
        from tables c join pg_attribute a on a.attrelid = c.oid join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
      union all
      select format('constraint %I of %s', k.conname, k.conrelid::regclass),
             format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname), k.conbin::text
        from tables c join pg_constraint k on k.conrelid = c.oid and k.contype = 'c'
      union all
      select format('index %s', i.indexrelid::regclass), format('drop index %s', i.indexrelid::regclass),
             concat(i.indexprs::text, i.indpred::text)
        from tables c join pg_index i on i.indrelid = c.oid),
    found (rank, thing, remedy) as (
      select 1, format('%s, which belongs to %s', c.oid::regclass, pg_get_userbyid(c.relowner)),
             format('alter table %s owner to omnicdc_owner', c.oid::regclass)
        from pg_class c
       where c.relnamespace = schema_oid and c.relkind in ('r', 'S') and c.relowner is distinct from owner_oid
      union all
      select 2, format('%s, which is no table', c.oid::regclass),
             format('drop %s %s', case c.relkind when 'v' then 'view' when 'm' then 'materialized view'
                                                 when 'f' then 'foreign table' else 'table' end, c.oid::regclass)
        from pg_class c
       where c.relnamespace = schema_oid and c.relkind in ('v', 'm', 'f', 'p')
      union all
      select 3, format('%s, which inherits from %s', i.inhrelid::regclass, i.inhparent::regclass),
             format('alter table %s no inherit %s', i.inhrelid::regclass, i.inhparent::regclass)
        from pg_inherits i join tables c on c.oid in (i.inhrelid, i.inhparent)
      union all
      select 4, format('trigger %I on %s', t.tgname, c.oid::regclass), format('drop trigger %I on %s', t.tgname, c.oid::regclass)
        from tables c join pg_trigger t on t.tgrelid = c.oid
       where not t.tgisinternal
         and not (c.relname = 'canary' and t.tgname = 'omnicdc_log_row' and t.tgqual is null
                  and t.tgfoid = to_regprocedure('omnicdc.log_row_0()'))
         -- Of development versions before the first release, so that an installation reports that version and not the trigger.
         and not (c.relname = 'canary' and t.tgname = 'omnicdc_note_row' and t.tgqual is null
                  and t.tgfoid = to_regprocedure('omnicdc.note_row()'))
      union all
      select 5, format('rule %I on %s', r.rulename, c.oid::regclass), format('drop rule %I on %s', r.rulename, c.oid::regclass)
        from tables c join pg_rewrite r on r.ev_class = c.oid
      union all
      select 6, format('policy %I on %s', p.polname, c.oid::regclass), format('drop policy %I on %s', p.polname, c.oid::regclass)
        from tables c join pg_policy p on p.polrelid = c.oid
       -- An altered omnicdc_all whose expressions are constants runs no code, and policies.sql replaces it.
       where p.polname <> 'omnicdc_all' or coalesce(pg_get_expr(p.polqual, c.oid), 'true') not in ('true', 'false')
          or coalesce(pg_get_expr(p.polwithcheck, c.oid), 'true') not in ('true', 'false')
      union all
      -- Of PostgreSQL's own functions, only the immutable ones and these two are harmless: others can read any table, or run any query.
      select 7, e.thing, e.remedy from expressions e
       where exists (select from regexp_matches(e.tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') as used (number)
                       join pg_proc p on p.oid = used.number[1]::oid
                      where p.oid >= 16384 or (p.provolatile <> 'i' and p.proname not in ('clock_timestamp', 'pg_current_xact_id')))
          or exists (select from regexp_matches(e.tree, ':(?:opno|resulttype|consttype|funcresulttype) ([0-9]+)', 'g') as used (number)
                      where used.number[1]::oid >= 16384)
      union all
      select 8, format('constraint %I of %s', k.conname, k.conrelid::regclass),
             format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
        from pg_constraint k
       where (k.contype = 'f' and k.confrelid in (select c.oid from tables c) and k.conrelid not in (select c.oid from tables c))
          or (k.contype = 'x' and k.conrelid in (select c.oid from tables c))
      union all
      select 9, format('column %I of %s, whose type is %s', a.attname, c.oid::regclass, a.atttypid::regtype),
             format('alter table %s drop column %I', c.oid::regclass, a.attname)
        from tables c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       where a.atttypid >= 16384
      union all
      select 10, format('function %s, which belongs to %s', p.oid::regprocedure, pg_get_userbyid(p.proowner)),
             format('alter routine %s owner to omnicdc_owner', p.oid::regprocedure)
        from pg_proc p
       where p.pronamespace = schema_oid and p.proowner is distinct from owner_oid
         -- watch() replaces it and makes omnicdc_owner its owner before it is called.
         and not (p.proname ~ '^log_(row|update)_[1-9][0-9]*$' and p.pronargs = 0)
      union all
      select 11, format('function %s, which has the name of one of omnicdc''s', p.oid::regprocedure),
             format('drop routine %s cascade', p.oid::regprocedure)
        from pg_proc p
       where p.pronamespace = schema_oid
         and p.proname::text = any (select split_part(item, '(', 1) from unnest(known || former) as item)
         and p.oid not in (select to_regprocedure('omnicdc.' || item) from unnest(known || former) as item
                            where to_regprocedure('omnicdc.' || item) is not null)
      union all
      select 12, format('operator %s', o.oid::regoperator), format('drop operator %s', o.oid::regoperator)
        from pg_operator o where o.oprnamespace = schema_oid
      union all
      select 13, format('cast (%s as %s)', c.castsource::regtype, c.casttarget::regtype),
             format('drop cast (%s as %s)', c.castsource::regtype, c.casttarget::regtype)
        from pg_cast c
       where exists (select from pg_type t where t.oid in (c.castsource, c.casttarget) and t.typnamespace = schema_oid)
      union all
      -- A right with which its role could create such a thing again, after this check.
      select 14, format('the right %s on %s, which %s has', a.privilege_type, c.oid::regclass, coalesce(r.rolname, 'PUBLIC')),
             format('revoke %s on %s from %s', a.privilege_type, c.oid::regclass, coalesce(quote_ident(r.rolname), 'public'))
        from tables c cross join aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
       where a.privilege_type = 'TRIGGER' and a.grantee is distinct from owner_oid
      union all
      select 14, format('the right to create in schema omnicdc, which %s has', coalesce(r.rolname, 'PUBLIC')),
             format('revoke create on schema omnicdc from %s', coalesce(quote_ident(r.rolname), 'public'))
        from pg_namespace n cross join aclexplode(n.nspacl) a left join pg_roles r on r.oid = a.grantee
       where n.oid = schema_oid and a.privilege_type = 'CREATE' and a.grantee is distinct from n.nspowner)
  select f.thing, f.remedy into thing, remedy from found f order by f.rank, f.thing limit 1;
  perform set_config('search_path', path, true);
  if thing is not null then
    raise exception 'omnicdc: schema omnicdc has something that is not omnicdc''s: %', thing
      using errcode = 'OC001', hint = remedy || '; then find out which role could have created it';
  end if;
end
$foreign$;
