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
              where r.source = s.id and r.whole and omnicdc.unwatchable(r.relation, s.watched) = fault) then
    return 'alter that column or table; `omnicdc install` refuses it as well';
  end if;
  -- The table of a source is gone, or something else has its name.
  return coalesce(
    (select format('rename or restore the table; or set `tables: {%1$s: %2$s}` here and on the registry hosts, run `omnicdc install` '
                   'as the table''s owner, and `systemctl reload omnicdc` on the hosts',
                   s.name, coalesce(omnicdc.triggered_table(s.id), 'NAME'))
            || case when s.required then '' else format('; or, if no registry reads it any more, `omnicdc source release %s`', s.name) end
       from omnicdc.source s
      where not exists (select from omnicdc.watched_relations() r join pg_class c on c.oid = r.relation
                         where r.source = s.id and c.relkind in ('r', 'p'))
        and omnicdc.source_fault(s.id) = fault
      order by s.id limit 1),
    'run `omnicdc install` as the table''s owner');
end
$remedy$;
revoke all on function omnicdc.capture_remedy(text) from public;
grant execute on function omnicdc.capture_remedy(text) to omnicdc_daemon, omnicdc_client;
