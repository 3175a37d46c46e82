-- omnicdc.unexpected_publications(): the publications that carry omnicdc's tables and are not allowed to.
--
-- Such a publication was created or altered after omnicdc was installed.   Tables written: none.
create or replace function omnicdc.unexpected_publications() returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp set row_security = on
as $unexpected$
  select p.pubname::text
    from pg_publication p
   where (p.puballtables or exists (select from pg_publication_tables t
                                     where t.pubname = p.pubname and t.schemaname = 'omnicdc'))
     and not exists (select from omnicdc.allowed_publication a where a.name = p.pubname::text)
   order by 1
$unexpected$;
revoke all on function omnicdc.unexpected_publications() from public;
grant execute on function omnicdc.unexpected_publications() to omnicdc_daemon, omnicdc_client;
