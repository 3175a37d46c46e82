-- omnicdc.watched_parts(): the watched table (whole is true), then its partitions; none if there is nothing of its name.
--
-- Read from the catalogs: to_regclass() fails in a schema that omnicdc_owner may not use, and pg_partition_tree() waits
-- for whoever locks a partition.   Tables written: none.   Locks: none.
create or replace function omnicdc.watched_parts(out part regclass, out whole boolean) returns setof record
language plpgsql stable rows 2 set search_path = pg_catalog, pg_temp set row_security = on
as $parts$
declare
  kind "char";
begin
  select c.oid, true, c.relkind into part, whole, kind
    from omnicdc.watch w
   cross join parse_ident(w.target) as name
    join pg_namespace n on n.nspname = name[1]
    join pg_class c on c.relnamespace = n.oid and c.relname = name[2];
  if found then
    return next;
  end if;
  if kind = 'p' then
    return query
      with recursive parts as (
        select i.inhrelid from pg_inherits i where i.inhparent = part
        union all
        select i.inhrelid from parts p join pg_inherits i on i.inhparent = p.inhrelid)
      select p.inhrelid::regclass, false from parts p;
  end if;
end
$parts$;
revoke all on function omnicdc.watched_parts() from public;
grant execute on function omnicdc.watched_parts() to omnicdc_daemon;
