-- omnicdc.create_trigger_function(name, body): creates or replaces a trigger function of a source, owned by omnicdc_owner.
--
-- Result: nothing.   Tables written: none.   Repeat: harmless.
create or replace function omnicdc.create_trigger_function(name text, body text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $write$
begin
  execute format('create or replace function omnicdc.%I() returns trigger language plpgsql '
                 'security definer set search_path = pg_catalog, pg_temp set row_security = on as %L', name, body);
  execute format('alter function omnicdc.%I() owner to omnicdc_owner', name);
  execute format('revoke all on function omnicdc.%I() from public', name);
end
$write$;
revoke all on function omnicdc.create_trigger_function(text, text) from public;
