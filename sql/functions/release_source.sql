-- omnicdc.release_source(name): ends the capture of a source: its triggers, its functions, the rights on its table, and its row.
--
-- name: omnicdc.source.name.   Result: whether there was such a source.   Repeat: harmless.
-- Tables written: omnicdc.source; and omnicdc.change: consumers are asked to scan everything.
-- The number is not given to another source while rows of the log have it, because those would be read as rows of that source.
-- Runs with the rights of its caller, which must own the table. Locks the table for an instant: set lock_timeout.
create or replace function omnicdc.release_source(name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $release$
declare
  released omnicdc.source;
begin
  select * into released from omnicdc.source s where s.name = release_source.name;
  if not found then
    return false;
  end if;
  if to_regclass(released.target) is not null then
    perform omnicdc.unwatch(to_regclass(released.target));
  end if;
  execute format('drop function if exists omnicdc.log_row_%1$s(), omnicdc.log_update_%1$s()', released.id);
  delete from omnicdc.source s where s.id = released.id;
  perform omnicdc.request_rebuild();
  return true;
end
$release$;
revoke all on function omnicdc.release_source(text) from public;
