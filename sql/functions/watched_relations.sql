-- omnicdc.watched_relations(): the watched table (whole is true), then its partitions; no row if no relation has its name.
--
-- Read from the catalogs, because to_regclass() fails in a schema that omnicdc_owner may not use, and pg_partition_tree() waits
-- for a lock on a partition.   Tables written: none.   Locks: none.
create or replace function omnicdc.watched_relations(out relation regclass, out whole boolean) returns setof record
language plpgsql stable rows 2 set search_path = pg_catalog, pg_temp set row_security = on
as $relations$
declare
  kind "char";
begin
  select c.oid, true, c.relkind into relation, whole, kind
    from omnicdc.source s
   cross join parse_ident(s.target) as part
    join pg_namespace n on n.nspname = part[1]
    join pg_class c on c.relnamespace = n.oid and c.relname = part[2];
  if found then
    return next;
  end if;
  if kind = 'p' then
    return query
      with recursive partitions as (
        select i.inhrelid from pg_inherits i where i.inhparent = relation
        union all
        select i.inhrelid from partitions p join pg_inherits i on i.inhparent = p.inhrelid)
      select p.inhrelid::regclass, false from partitions p;
  end if;
end
$relations$;
revoke all on function omnicdc.watched_relations() from public;
grant execute on function omnicdc.watched_relations() to omnicdc_daemon;
