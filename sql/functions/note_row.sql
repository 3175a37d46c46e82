-- omnicdc.note_row(): trigger function for INSERT and DELETE, after each row. For UPDATE there is note_update(), which
-- watch() writes: what a function has in it costs each transaction that calls it, used or not.
--
-- An id whose type is not PostgreSQL's own is not looked at: its owner could have given it a cast, to be run as omnicdc_owner.
-- Tables written: omnicdc.change.
create or replace function omnicdc.note_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $note$
declare
  project uuid;
begin
  begin
    if tg_op = 'INSERT' then
      if pg_typeof(new.id)::oid < '16384'::oid then project := new.id; end if;
    elsif pg_typeof(old.id)::oid < '16384'::oid then project := old.id; end if;
  exception when others then
    project := null;  -- the column is gone: every project is meant
  end;
  insert into omnicdc.change (project_id, op) values (project, lower(tg_op collate "C"));
  -- Asked here as well as in ring(): a call costs more than the answer.
  if omnicdc.someone_may_sleep() and not omnicdc.has_rung() then
    perform omnicdc.ring();
  end if;
  return null;
end
$note$;
revoke all on function omnicdc.note_row() from public;
