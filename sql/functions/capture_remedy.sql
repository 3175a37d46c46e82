-- omnicdc.capture_remedy(): what to do about the fault that omnicdc.capture_fault() reports.
--
-- Tables written: none.
create or replace function omnicdc.capture_remedy() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = on
as $remedy$
declare
  fault constant text := omnicdc.capture_fault();
begin
  if exists (select from omnicdc.row_security_fault()) then
    return (select r.remedy from omnicdc.row_security_fault() r);
  end if;
  if exists (select from omnicdc.lacking_functions() n where not n.optional) then
    return 'run `omnicdc install` as a superuser: it grants the functions that are needed';
  end if;
  if exists (select from omnicdc.source s, omnicdc.watched_relations() r
              where r.whole and omnicdc.unwatchable(r.relation, s.watched) = fault) then
    return 'alter that column or table; `omnicdc install` refuses it as well';
  end if;
  if exists (select from omnicdc.watched_relations() r join pg_class c on c.oid = r.relation where c.relkind in ('r', 'p'))
     or not exists (select from omnicdc.source) then
    return 'run `omnicdc install` as the table''s owner';
  end if;
  return format('rename or restore the table, or run `omnicdc install --table %1$s` as the table''s owner, and on the registry hosts '
                'set `table: %1$s` and `systemctl reload omnicdc`', coalesce(omnicdc.triggered_table(), 'NAME'));
end
$remedy$;
revoke all on function omnicdc.capture_remedy() from public;
grant execute on function omnicdc.capture_remedy() to omnicdc_daemon, omnicdc_client;
