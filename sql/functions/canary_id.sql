-- omnicdc.canary_id(): the id by which the log names a canary: "omnicdc canary", and no random id (its version is 6, not 4).
--
-- Inlined wherever it is called.   Tables written: none.
create or replace function omnicdc.canary_id() returns uuid
language sql immutable
as $id$
  select '6f6d6e69-6364-6320-8361-6e6172790000'::pg_catalog.uuid
$id$;
revoke all on function omnicdc.canary_id() from public;
grant execute on function omnicdc.canary_id() to omnicdc_daemon, omnicdc_client;
