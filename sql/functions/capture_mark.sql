-- omnicdc.capture_mark(): the capture's fingerprint: another text whenever a row of CMP may show something else than before
-- without a trigger having seen it.
--
-- No trigger fires for what alters a table: triggers switched off (and on again), another table in its place, a column
-- of another name, type, modifier, collation or generating expression, a table written anew, a partition attached, detached or
-- dropped, the log emptied by hand, or altered, as by row-level security that refuses what the triggers write; nor for what
-- alters a type: an enum's label renamed, another cast. All this leaves its mark in the catalogs: what is there, which transaction put it there (xmin), and where the rows lie.
-- A consumer that has read everything at this fingerprint has missed nothing.
-- It shows the catalogs in the snapshot of the calling query, so ask in a transaction of its own: while a REPEATABLE READ
-- transaction reads old rows, an enum's output function already follows the newest labels.   Tables written: none.   Locks: none.
create or replace function omnicdc.capture_mark() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = on set plan_cache_mode = force_generic_plan
as $mark$
declare
  parts oid[] := array(select p.part from omnicdc.watched_parts() p);  -- the whole first
  columns text[] := array(select split_part(item, '.', 1) from omnicdc.watch w, unnest(w.watched || array['id']) as item);
begin
  return omnicdc.hash_of(concat_ws(' ',
    (select string_agg(concat_ws(',', c.oid, c.relkind, c.relfilenode), ' ' order by c.oid)
       from pg_class c where c.oid = any (parts) or c.oid = 'omnicdc.change'::regclass),
    -- Vacuum and analyze leave this xmin; a grant does not, and costs one full scan.
    (select c.xmin::text from pg_class c where c.oid = 'omnicdc.change'::regclass),
    (select string_agg(concat_ws(',', p.oid, p.xmin), ' ' order by p.oid)
       from pg_policy p where p.polrelid = 'omnicdc.change'::regclass),
    (select string_agg(concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attgenerated), ' ' order by a.attnum)
       from pg_attribute a where a.attrelid = parts[1] and a.attname = any (columns)),
    (select string_agg(concat_ws(',', d.oid, d.xmin), ' ' order by d.oid)
       from pg_attribute a join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = any (parts) and a.attname = any (columns) and a.attgenerated <> ''),
    (select string_agg(concat_ws(',', i.inhrelid, i.inhparent, i.inhdetachpending), ' ' order by i.inhrelid)
       from pg_inherits i where i.inhrelid = any (parts) or i.inhparent = any (parts)),  -- DETACH CONCURRENTLY hides the rows before it ends
    omnicdc.watched_types(parts, columns),
    (select string_agg(concat_ws(',', t.oid, t.xmin), ' ' order by t.oid)
       from pg_trigger t where t.tgrelid = any (parts) and starts_with(t.tgname::text, 'omnicdc_note_')),
    (select string_agg(concat_ws(',', f.oid, f.xmin), ' ' order by f.oid)
       from pg_proc f
      where f.oid in (to_regprocedure('omnicdc.note_row()'), to_regprocedure('omnicdc.note_update()'),
                      to_regprocedure('omnicdc.note_statement()')))));
end
$mark$;
revoke all on function omnicdc.capture_mark() from public;
grant execute on function omnicdc.capture_mark() to omnicdc_daemon, omnicdc_client;
