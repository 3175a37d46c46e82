-- omnicdc.source_fingerprint(id): what decides how a source's rows look, besides the rows; part of omnicdc.capture_fingerprint().
--
-- id: omnicdc.source.id.   Result: a text, NULL parts left out.   Tables written: none.   Locks: none.
create or replace function omnicdc.source_fingerprint(id smallint) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set row_security = on set plan_cache_mode = force_generic_plan
as $fingerprint$
declare
  relations oid[] := array(select r.relation from omnicdc.watched_relations() r where r.source = source_fingerprint.id);  -- the whole table first
  columns text[] := array(select split_part(item, '.', 1)
                            from omnicdc.source s, unnest(s.watched || s.key_column) as item where s.id = source_fingerprint.id);
begin
  return concat_ws(' ',
    (select string_agg(concat_ws(',', c.oid, c.relkind, c.relfilenode), ' ' order by c.oid)
       from pg_class c where c.oid = any (relations)),
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
      where f.oid in (to_regprocedure(format('omnicdc.log_row_%s()', source_fingerprint.id)), to_regprocedure(format('omnicdc.log_update_%s()', source_fingerprint.id)))));
end
$fingerprint$;
revoke all on function omnicdc.source_fingerprint(smallint) from public;
