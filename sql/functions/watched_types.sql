-- omnicdc.watched_types(relations, columns): the catalog rows that decide how the values of these columns are written as text; NULL if there are none.
--
-- These are the user-defined types (oid from 16384 on) of the columns, and what those consist of, recursively: elements
-- of arrays, base types of domains, attributes of composite types, subtypes of ranges, labels of enums, output functions; and
-- every user-defined cast, with the functions that its function calls, as far as PostgreSQL records them: it does for a body
-- written in SQL without quotes (`begin atomic`), and not for one in quotes. Each of these can change what a row shows without a write of the row.
-- Each is named with the transaction that wrote it (xmin), so that a change that was undone is detected as well.
-- In the snapshot of the calling query. In plpgsql, which caches its plans.   Tables written: none.   Locks: none.
create or replace function omnicdc.watched_types(relations oid[], columns text[]) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $types$
begin
  return (with recursive used (type) as (
    select a.atttypid from pg_attribute a
     where a.attrelid = any (relations) and a.attname = any (columns) and not a.attisdropped
    union
    select inner_type.type
      from used u
      join pg_type t on t.oid = u.type and t.oid >= 16384
     cross join lateral (
       select t.typelem as type where t.typelem <> 0
       union all
       select t.typbasetype where t.typbasetype <> 0
       union all
       select r.rngsubtype from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
       union all
       select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as inner_type),
  called (function) as (
    select c.castfunc from used u join pg_cast c on c.castsource = u.type where c.oid >= 16384 and c.castfunc <> 0
    union
    select coalesce(o.oprcode::oid, d.refobjid)
      from called f
      join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = f.function
                      and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)
      left join pg_operator o on d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid)
  select string_agg(fact.line, ' ' order by fact.line collate "C")
    from used u
   cross join lateral (
     select concat_ws(',', 't', t.oid, t.xmin, f.oid, f.xmin) as line
       from pg_type t left join pg_proc f on f.oid = t.typoutput
      where t.oid = u.type and t.oid >= 16384
     union all
     select concat_ws(',', 'e', e.oid, e.xmin) from pg_enum e where e.enumtypid = u.type and u.type >= 16384
     union all
     select concat_ws(',', 'a', t.oid, a.attnum, a.xmin)
       from pg_type t join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0
      where t.oid = u.type and t.oid >= 16384
     union all
     select concat_ws(',', 'c', c.oid, c.xmin, f.oid, f.xmin)
       from pg_cast c left join pg_proc f on f.oid = c.castfunc
      where c.castsource = u.type and c.oid >= 16384
     union all
     select concat_ws(',', 'f', p.oid, p.xmin) from called f join pg_proc p on p.oid = f.function) as fact);
end
$types$;
revoke all on function omnicdc.watched_types(oid[], text[]) from public;
