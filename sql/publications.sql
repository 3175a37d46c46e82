-- Refuses to install where a publication would carry omnicdc's tables and is not allowed to.
-- A subscriber that lacks these tables stops at their first row, and WAL accumulates on the publisher.
-- The setting omnicdc.allowed_publications (an array of names) names the allowed publications.
-- Run before anything is created or altered, because an added column stops a subscriber as well.
do $publications$
declare
  given pg_catalog.text := pg_catalog.current_setting('omnicdc.allowed_publications', true);
  allowed pg_catalog.text[] := case when pg_catalog.starts_with(given, '{') then given else '{}' end;
  found_name pg_catalog.text;
  found_scope pg_catalog.text;
begin
  select p.pubname, 'is for all tables' into found_name, found_scope
    from pg_catalog.pg_publication p
   where p.puballtables and p.pubname::pg_catalog.text operator(pg_catalog.<>) all (allowed)
   order by 1 limit 1;
  -- Publications of a schema exist since PostgreSQL 15: this catalog is read only where it exists.
  if found_name is null and pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') is not null then
    select p.pubname, 'is for all tables in schema omnicdc' into found_name, found_scope
      from pg_catalog.pg_publication p
      join pg_catalog.pg_publication_namespace s on s.pnpubid operator(pg_catalog.=) p.oid
      join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) s.pnnspid
     where n.nspname operator(pg_catalog.=) 'omnicdc'
       and p.pubname::pg_catalog.text operator(pg_catalog.<>) all (allowed)
     order by 1 limit 1;
  end if;
  if found_name is null then
    select t.pubname, pg_catalog.format('lists table %I.%I', t.schemaname, t.tablename) into found_name, found_scope
      from pg_catalog.pg_publication_tables t
     where t.schemaname operator(pg_catalog.=) 'omnicdc'
       and t.pubname::pg_catalog.text operator(pg_catalog.<>) all (allowed)
     order by 1, 2 limit 1;
  end if;
  if found_name is not null then
    raise exception 'omnicdc: publication % %: it would carry omnicdc''s tables, and a subscriber that lacks them stops',
      pg_catalog.quote_ident(found_name), found_scope
      using errcode = 'OC001',
            hint = pg_catalog.format(
              'replace it by one that names tables or schemas (PostgreSQL cannot exclude tables from FOR ALL TABLES); or run '
              '`omnicdc install --print-tables | psql` on every subscriber, then `omnicdc install --allow-publication %s`',
              pg_catalog.quote_ident(found_name));
  end if;
end
$publications$;
