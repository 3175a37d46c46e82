-- omnicdc.note_statement(): trigger function for TRUNCATE, after each statement: every project is meant.
--
-- Tables written: omnicdc.change.
create or replace function omnicdc.note_statement() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $note$
begin
  -- Always: a truncate is rare, and worth the block's subtransaction.
  perform omnicdc.log_if_allowed(array[null]::uuid[], lower(tg_op collate "C"), null);
  perform omnicdc.ring();
  return null;
end
$note$;
revoke all on function omnicdc.note_statement() from public;
