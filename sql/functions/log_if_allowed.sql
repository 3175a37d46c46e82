-- omnicdc.log_if_allowed(projects, op, fields): logs a change where row-level security is forced for the log; no policy makes it fail.
--
-- The trigger functions call it only then: a row policy of another origin may refuse the row, or fail, and CMP's write must not. The
-- block costs a subtransaction for each call. The policies are not looked at first: a REPEATABLE READ transaction
-- sees those of its snapshot, and PostgreSQL applies those of now. A refused change is lost to the log: omnicdc.capture_fault() names the policy, and when it
-- is gone omnicdc.capture_mark() is another one, so that consumers read everything.
--
-- projects: one row each; an element NULL means every project.   Result: nothing.   Tables written: omnicdc.change.
create or replace function omnicdc.log_if_allowed(projects uuid[], op text, fields text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $allowed$
begin
  insert into omnicdc.change (project_id, op, fields)
  select project, log_if_allowed.op, log_if_allowed.fields from unnest(projects) as project;
exception when others then
  -- A full disk, a crash and the like fail the write as they do without row-level security, or the change would be lost unnoticed.
  if substr(sqlstate, 1, 2) in ('40', '53', '55', '57', '58', 'XX') then
    raise;
  end if;
end
$allowed$;
revoke all on function omnicdc.log_if_allowed(uuid[], text, text[]) from public;
