-- omnicdc.row_security_fault(): what is wrong with the row-level security of omnicdc's tables, and the remedy; no row if nothing is.
--
-- Where it is enabled, policy omnicdc_all must be as sql/policies.sql creates it, and must be the only one. A restrictive policy or an
-- altered one hides rows from the daemon and from the functions, and refuses what the triggers write.
-- It reads the catalogs only, because policies do not apply to them.   Tables written: none.
create or replace function omnicdc.row_security_fault(out fault text, out remedy text) returns setof record
language plpgsql stable rows 1 security definer set search_path = pg_catalog, pg_temp
as $fault$
declare
  three constant oid[] := array[to_regrole('omnicdc_owner'), to_regrole('omnicdc_daemon'), to_regrole('omnicdc_client')]::oid[];
begin
  if not exists (select from pg_class c where c.relnamespace = 'omnicdc'::regnamespace and c.relrowsecurity) then
    return;  -- the usual case; the query below takes PostgreSQL some milliseconds to plan
  end if;
  return query
    with policies as (
      select p.polrelid, p.polname,
             p.polpermissive and p.polcmd = '*' and (p.polroles @> three or p.polroles @> array[0::oid])
               and e.used = 'true' and e.checked = 'true' as intact,
             e.used in ('true', 'false') and e.checked in ('true', 'false') as constant
        from pg_policy p
       cross join lateral (
         select coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') as used,
                coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') as checked) as e),
    found (relation, rank, fault, remedy) as (
      select p.polrelid, 1, format('policy %I on %s is not omnicdc''s', p.polname, p.polrelid::regclass),
             format('`drop policy %I on %s`', p.polname, p.polrelid::regclass)
        from policies p where p.polname <> 'omnicdc_all'
      union all
      select p.polrelid, 2, format('policy omnicdc_all on %s was altered', p.polrelid::regclass),
             case when p.constant then '' else format('`drop policy omnicdc_all on %s`, then ', p.polrelid::regclass) end
               || 'run `omnicdc install` as the table''s owner'
        from policies p where p.polname = 'omnicdc_all' and not p.intact
      union all
      select c.oid, 3, format('row-level security is enabled on %s, and policy omnicdc_all is missing', c.oid::regclass),
             'run `omnicdc install` as the table''s owner'
        from pg_class c where not exists (select from policies p where p.polrelid = c.oid and p.polname = 'omnicdc_all'))
    select f.fault, f.remedy
      from found f join pg_class c on c.oid = f.relation
     where c.relnamespace = 'omnicdc'::regnamespace and c.relkind = 'r' and c.relrowsecurity
     order by f.rank, c.relname, f.fault
     limit 1;
end
$fault$;
revoke all on function omnicdc.row_security_fault() from public;
grant execute on function omnicdc.row_security_fault() to omnicdc_daemon, omnicdc_client;
