-- Removes all that install put into the database, the log included. The roles stay: they belong to the cluster and may
-- be granted to people. CMP's table is left as it was before.
do $uninstall$
declare
  watched_table pg_catalog.text;
begin
  if pg_catalog.to_regclass('omnicdc.watch') is null then
    return;
  end if;
  select w.target into watched_table from omnicdc.watch w;
  if pg_catalog.to_regclass(watched_table) is not null then
    perform omnicdc.unwatch(pg_catalog.to_regclass(watched_table));
  end if;
end
$uninstall$;
drop schema if exists omnicdc cascade;
