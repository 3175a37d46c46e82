-- omnicdc.allow_publications(): stores which publications may carry omnicdc's tables.
--
-- They are named in the setting omnicdc.allowed_publications, an array of names, which sql/publications.sql reads as well.
-- Result: nothing.   Tables written: omnicdc.allowed_publication.   Repeat: harmless; no name is removed.
create or replace function omnicdc.allow_publications() returns void
language sql volatile set search_path = pg_catalog, pg_temp
as $allow$
  insert into omnicdc.allowed_publication (name)
  select distinct unnest(coalesce(nullif(current_setting('omnicdc.allowed_publications', true), ''), '{}')::text[])
  on conflict (name) do nothing
$allow$;
revoke all on function omnicdc.allow_publications() from public;
