-- omnicdc.unwatchable(target, watched): why a table, or a watched column of it, cannot be captured, in a sentence; NULL if it can.
--
-- The table cannot be captured if a partition is a foreign table, because no trigger fires for a write on its own server; or if another table
-- inherits from it (not as a partition), because its rows are read as the table's own, and PostgreSQL does not copy triggers to it.
-- A column cannot be captured if it is virtual, because no trigger sees its value; or if its text is the name of another object or of a role:
-- regclass, regrole and similar types, aclitem, and types that consist of them (arrays, domains, composite types, ranges). Renaming that
-- object changes the column's text, but writes no row, and changes no catalog row of the column's types.
-- target: a table.   watched: columns, or column.key for a key of a json column.   Tables written: none.   Locks: none.
create or replace function omnicdc.unwatchable(target regclass, watched text[]) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $unwatchable$
begin
  return (
    with recursive columns as (
      select a.attnum, a.attname, a.atttypid, a.attgenerated
        from pg_attribute a
       where a.attrelid = target and a.attnum > 0 and not a.attisdropped
         and a.attname in (select split_part(item, '.', 1) from unnest(watched) as item)),
    used (attnum, type) as (
      select c.attnum, c.atttypid from columns c
      union
      select u.attnum, inner_type.type
        from used u
        join pg_type t on t.oid = u.type
       cross join lateral (
         select t.typelem as type where t.typelem <> 0
         union all
         select t.typbasetype where t.typbasetype <> 0
         union all
         select r.rngsubtype from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
         union all
         select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as inner_type),
    children (child, parent, is_partition) as (
      select i.inhrelid::regclass, i.inhparent::regclass, c.relispartition
        from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = target
      union
      select i.inhrelid::regclass, i.inhparent::regclass, c.relispartition
        from children h join pg_inherits i on i.inhparent = h.child join pg_class c on c.oid = i.inhrelid)
    select f.fault
      from (
        select 1 as rank, c.attnum, format('column %I of %s is virtual: no trigger sees what it holds', c.attname, target) as fault
          from columns c where c.attgenerated = 'v'
        union all
        select 2, c.attnum, format('column %I of %s shows names of other objects (type %s): a rename changes its text without a write; '
                                   'make it a column of type text', c.attname, target, t.oid::regtype)
          from columns c
          join used u on u.attnum = c.attnum
          join pg_type t on t.oid = u.type
         where t.typnamespace = 'pg_catalog'::regnamespace and t.typtype = 'b' and t.typelem = 0
           and (starts_with(t.typname::text, 'reg') or t.typname = 'aclitem')
        union all
        select 3, 0, format('partition %s of %s is a foreign table: no trigger sees what is written on its server; '
                            '`alter table %s detach partition %s`', h.child, target, h.parent, h.child)
          from children h join pg_class c on c.oid = h.child where h.is_partition and c.relkind = 'f'
        union all
        select 4, 0, format('table %s inherits from %s: its rows are read, and no trigger sees its writes; '
                            '`alter table %s no inherit %s`, or make it a partition', h.child, h.parent, h.child, h.parent)
          from children h where not h.is_partition) as f
     order by f.rank, f.attnum, f.fault
     limit 1);
end
$unwatchable$;
revoke all on function omnicdc.unwatchable(regclass, text[]) from public;
