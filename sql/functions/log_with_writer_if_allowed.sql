-- omnicdc.log_with_writer_if_allowed(source, keys, op, fields, writer): logs a change where row-level security is forced for the log; no policy
-- makes it fail.
--
-- The trigger functions call it only then: a row policy that is not omnicdc's may refuse the row, or fail, and CMP's write must succeed.
-- The block costs a subtransaction for each call. The policies are not read first: a REPEATABLE READ transaction
-- sees those of its snapshot, and PostgreSQL applies those of now. A refused change is not in the log: omnicdc.capture_fault() names the
-- policy, and once it is gone, omnicdc.capture_fingerprint() has changed, so that consumers read everything.
--
-- keys: one row each; an element NULL means every row of the source.   writer: see omnicdc.change.writer.
-- Result: nothing.   Tables written: omnicdc.change.
create or replace function omnicdc.log_with_writer_if_allowed(source smallint, keys text[], op text, fields text[], writer text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $allowed$
begin
  insert into omnicdc.change (source, key, op, fields, writer)
  select log_with_writer_if_allowed.source, logged.key, log_with_writer_if_allowed.op, log_with_writer_if_allowed.fields,
         log_with_writer_if_allowed.writer
    from unnest(keys) as logged (key);
exception when others then
  -- A full disk, a crash and the like fail the write as they do without row-level security; else the change would be lost silently.
  if substr(sqlstate, 1, 2) in ('40', '53', '55', '57', '58', 'XX') then
    raise;
  end if;
end
$allowed$;
revoke all on function omnicdc.log_with_writer_if_allowed(smallint, text[], text, text[], text[]) from public;
