-- omnicdc.triggered_table(source): the tables that have a source's trigger for rows; NULL if none has it.
--
-- A table that was renamed or moved takes its triggers along, and so is found again.   Tables written: none.
create or replace function omnicdc.triggered_table(source smallint) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $triggered$
  select string_agg(format('%I.%I', n.nspname, c.relname), ', ' order by n.nspname, c.relname)
    from pg_trigger t
    join pg_class c on c.oid = t.tgrelid
    join pg_namespace n on n.oid = c.relnamespace
   where t.tgfoid = to_regprocedure(format('omnicdc.log_row_%s()', source)) and t.tgparentid = 0 and n.nspname <> 'omnicdc'
$triggered$;
revoke all on function omnicdc.triggered_table(smallint) from public;
