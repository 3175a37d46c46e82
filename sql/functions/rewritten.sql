-- omnicdc.rewritten(): whether the watched table, or a partition, was made or written anew since the transaction's snapshot.
--
-- TRUNCATE, ALTER TABLE and a new table in its place do not care for who took a snapshot before: to him it then looks empty.
-- What the snapshot knows of the table is compared with what is there now, which the functions used here tell.
-- To be asked after the table was read: from then on it stays.   Tables written: none.   Locks: none.
create or replace function omnicdc.rewritten() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = on
as $rewritten$
begin
  return exists (
    select from omnicdc.watched_parts() p join pg_class c on c.oid = p.part
     where c.relfilenode <> pg_relation_filenode(c.oid)
        or (p.whole and c.oid <> (select to_regclass(w.target)::oid from omnicdc.watch w)));
end
$rewritten$;
revoke all on function omnicdc.rewritten() from public;
grant execute on function omnicdc.rewritten() to omnicdc_daemon;
