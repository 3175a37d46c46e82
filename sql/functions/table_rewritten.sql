-- omnicdc.table_rewritten(): whether a watched table, or a partition of one, was created or rewritten since the transaction's snapshot.
--
-- TRUNCATE, ALTER TABLE and a new table of the same name ignore snapshots taken before: in such a snapshot the table then looks empty.
-- So what the snapshot shows of the table is compared with what the functions used here report, which is the state of now.
-- Call it after reading the table: from then on the transaction's lock keeps it.   Tables written: none.   Locks: none.
create or replace function omnicdc.table_rewritten() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = on
as $rewritten$
begin
  return exists (
    select from omnicdc.watched_relations() r join pg_class c on c.oid = r.relation
     where c.relfilenode <> pg_relation_filenode(c.oid)
        or (r.whole and c.oid <> (select to_regclass(s.target)::oid from omnicdc.source s where s.id = r.source)));
end
$rewritten$;
revoke all on function omnicdc.table_rewritten() from public;
grant execute on function omnicdc.table_rewritten() to omnicdc_daemon;
