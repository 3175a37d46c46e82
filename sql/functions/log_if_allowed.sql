-- omnicdc.log_if_allowed(source, keys, op, fields): as omnicdc.log_with_writer_if_allowed(), for writers that are not recorded.
--
-- Result: nothing.   Tables written: omnicdc.change.
create or replace function omnicdc.log_if_allowed(source smallint, keys text[], op text, fields text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $allowed$
begin
  perform omnicdc.log_with_writer_if_allowed(source, keys, op, fields, null);
end
$allowed$;
revoke all on function omnicdc.log_if_allowed(smallint, text[], text, text[]) from public;
