-- omnicdc.capture_remedy(fault): what to do about a fault that omnicdc.capture_fault() reported.
--
-- Tables written: none.
create or replace function omnicdc.capture_remedy(fault text) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = on
as $remedy$
declare
  remedy text := (select r.remedy from omnicdc.row_security_fault() r where r.fault = capture_remedy.fault);
begin
  if remedy is not null then
    return remedy;
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
revoke all on function omnicdc.capture_remedy(text) from public;
grant execute on function omnicdc.capture_remedy(text) to omnicdc_daemon, omnicdc_client;
