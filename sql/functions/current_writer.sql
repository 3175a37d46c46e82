-- omnicdc.current_writer(): the expression by which a trigger function records the writer; NULL if writers are not recorded.
--
-- Its value is {role, application_name, traceparent}, see omnicdc.change.writer. session_user and the setting `role` (of SET ROLE), because
-- in a trigger function, which is SECURITY DEFINER, current_user is omnicdc_owner. A writer sets its traceparent (W3C Trace Context) by
-- `set local omnicdc.traceparent`; it is not recorded if it is malformed. PostgreSQL limits the other two to 63 bytes.
-- Result: a text of SQL, which cannot fail.   Tables written: none.
create or replace function omnicdc.current_writer() returns text
language sql stable set search_path = pg_catalog, pg_temp set row_security = on
as $writer$
  select $value$array[
      coalesce(nullif(current_setting('role', true), 'none'), session_user::text),
      nullif(current_setting('application_name', true), ''),
      case when current_setting('omnicdc.traceparent', true) collate "C" ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'
           then current_setting('omnicdc.traceparent', true) end]$value$
   where exists (select from omnicdc.setting s where s.name = 'record_writers' and s.value = 'on')
$writer$;
revoke all on function omnicdc.current_writer() from public;
