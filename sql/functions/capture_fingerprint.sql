-- omnicdc.capture_fingerprint(): a hash that changes whenever a row of CMP may show something else than before without a trigger
-- having fired.
--
-- No trigger fires for a change of the table itself: triggers disabled (and enabled again); another table of the same name; a column
-- with another name, type, modifier, collation or generating expression; a table rewritten; a partition attached, detached or
-- dropped; the log emptied or altered by hand, for example by row-level security that refuses what the triggers write. Nor does one
-- fire for a change of a type: an enum's label renamed, another cast. All of these change the catalogs: which objects exist, which
-- transaction wrote their catalog rows (xmin), and where the table's rows are stored (relfilenode).
-- A consumer that has read everything at this fingerprint has missed nothing.
-- It shows the catalogs in the snapshot of the calling query, so call it in a transaction of its own: while a REPEATABLE READ
-- transaction reads old rows, an enum's output function already uses the newest labels.   Tables written: none.   Locks: none.
create or replace function omnicdc.capture_fingerprint() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = on set plan_cache_mode = force_generic_plan
as $fingerprint$
declare
  relations oid[] := array(select r.relation from omnicdc.watched_relations() r);  -- the whole table first
  columns text[] := array(select split_part(item, '.', 1) from omnicdc.source s, unnest(s.watched || array[s.key_column]) as item);
begin
  return omnicdc.hash_of(concat_ws(' ',
    (select string_agg(concat_ws(',', c.oid, c.relkind, c.relfilenode), ' ' order by c.oid)
       from pg_class c where c.oid = any (relations) or c.oid = 'omnicdc.change'::regclass),
    -- VACUUM and ANALYZE leave this xmin as it is; a grant changes it, which costs one full scan.
    (select c.xmin::text from pg_class c where c.oid = 'omnicdc.change'::regclass),
    (select string_agg(concat_ws(',', p.oid, p.xmin), ' ' order by p.oid)
       from pg_policy p where p.polrelid = 'omnicdc.change'::regclass),
    (select string_agg(concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attgenerated), ' ' order by a.attnum)
       from pg_attribute a where a.attrelid = relations[1] and a.attname = any (columns)),
    (select string_agg(concat_ws(',', d.oid, d.xmin), ' ' order by d.oid)
       from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = any (relations) and a.attname = any (columns) and a.attgenerated <> ''),
    -- With inhdetachpending, because DETACH CONCURRENTLY hides the rows before it ends.
    (select string_agg(concat_ws(',', i.inhrelid, i.inhparent, i.inhdetachpending), ' ' order by i.inhrelid)
       from pg_inherits i where i.inhrelid = any (relations) or i.inhparent = any (relations)),
    omnicdc.watched_types(relations, columns),
    (select string_agg(concat_ws(',', t.oid, t.xmin), ' ' order by t.oid)
       from pg_trigger t where t.tgrelid = any (relations) and starts_with(t.tgname::text, 'omnicdc_log_')),
    (select string_agg(concat_ws(',', f.oid, f.xmin), ' ' order by f.oid)
       from pg_proc f
      where f.oid in (to_regprocedure('omnicdc.log_row()'), to_regprocedure('omnicdc.log_update()'),
                      to_regprocedure('omnicdc.log_statement()')))));
end
$fingerprint$;
revoke all on function omnicdc.capture_fingerprint() from public;
grant execute on function omnicdc.capture_fingerprint() to omnicdc_daemon, omnicdc_client;
