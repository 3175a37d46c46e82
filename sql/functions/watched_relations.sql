-- omnicdc.watched_relations(): of each source the table (whole is true), then its partitions; no row for a source whose table does not exist.
--
-- Read from the catalogs, because to_regclass() fails in a schema that omnicdc_owner may not use, and pg_partition_tree() waits
-- for a lock on a partition.   Tables written: none.   Locks: none.
create or replace function omnicdc.watched_relations(out source smallint, out relation regclass, out whole boolean) returns setof record
language plpgsql stable rows 2 set search_path = pg_catalog, pg_temp set row_security = on
as $relations$
declare
  kind "char";
begin
  for source, relation, kind in
    select s.id, c.oid, c.relkind
      from omnicdc.source s
     cross join parse_ident(s.target) as part
      join pg_namespace n on n.nspname = part[1]
      join pg_class c on c.relnamespace = n.oid and c.relname = part[2]
     order by s.id
  loop
    whole := true;
    return next;
    if kind = 'p' then
      return query
        with recursive partitions as (
          select i.inhrelid from pg_inherits i where i.inhparent = relation
          union all
          select i.inhrelid from partitions p join pg_inherits i on i.inhparent = p.inhrelid)
        select watched_relations.source, p.inhrelid::regclass, false from partitions p;
    end if;
  end loop;
end
$relations$;
revoke all on function omnicdc.watched_relations() from public;
grant execute on function omnicdc.watched_relations() to omnicdc_daemon;
