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
begin
  return omnicdc.hash_of(concat_ws(' ',
    -- VACUUM and ANALYZE leave this xmin as it is; a grant changes it, which costs one full scan.
    (select concat_ws(',', c.oid, c.relkind, c.relfilenode, c.xmin) from pg_class c where c.oid = 'omnicdc.change'::regclass),
    (select string_agg(concat_ws(',', p.oid, p.xmin), ' ' order by p.oid)
       from pg_policy p where p.polrelid = 'omnicdc.change'::regclass),
    (select concat_ws(',', f.oid, f.xmin) from pg_proc f where f.oid = to_regprocedure('omnicdc.log_statement()')),
    (select string_agg(concat_ws(',', s.id, omnicdc.source_fingerprint(s.id)), ' ' order by s.id) from omnicdc.source s)));
end
$fingerprint$;
revoke all on function omnicdc.capture_fingerprint() from public;
grant execute on function omnicdc.capture_fingerprint() to omnicdc_daemon, omnicdc_client;
