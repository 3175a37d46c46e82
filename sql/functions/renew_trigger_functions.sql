-- omnicdc.renew_trigger_functions(): writes the trigger functions of the sources again whose text would be another one now.
--
-- For the sources that only other hosts read: this installation does not watch() them, but the operator's choice holds for them as well.
-- Result: whether any was written.   Tables written: omnicdc.source.   Repeat: harmless. No table of CMP's is locked.
create or replace function omnicdc.renew_trigger_functions() returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set row_security = on
as $renew$
declare
  outdated record;
  renewed boolean := false;
begin
  for outdated in
    select s.id, t.row_text, t.update_text, concat_ws(' ', omnicdc.hash_of(t.row_text), omnicdc.hash_of(t.update_text)) as source_hash
      from omnicdc.source s
     cross join lateral (select omnicdc.log_row_text(s.id, s.key_column, s.key_type) as row_text,
                                omnicdc.log_update_text(s.id, s.key_column, s.key_type, s.watched) as update_text) as t
     order by s.id
  loop
    continue when exists (select from omnicdc.source s where s.id = outdated.id and s.source_hash = outdated.source_hash);
    perform omnicdc.create_trigger_function(format('log_row_%s', outdated.id), outdated.row_text);
    perform omnicdc.create_trigger_function(format('log_update_%s', outdated.id), outdated.update_text);
    update omnicdc.source s set source_hash = outdated.source_hash where s.id = outdated.id;
    renewed := true;
  end loop;
  return renewed;
end
$renew$;
revoke all on function omnicdc.renew_trigger_functions() from public;
