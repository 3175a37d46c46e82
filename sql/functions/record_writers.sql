-- omnicdc.record_writers(): stores whether writers are recorded; omnicdc.watch() then writes the trigger functions accordingly.
--
-- The choice is in the setting omnicdc.record_writers: on or off. If that is not set, the stored choice stays as it is.
-- Result: nothing.   Tables written: omnicdc.setting.   Repeat: harmless.
create or replace function omnicdc.record_writers() returns void
language sql volatile set search_path = pg_catalog, pg_temp
as $record$
  insert into omnicdc.setting as s (name, value)
  select 'record_writers', chosen.value
    from nullif(current_setting('omnicdc.record_writers', true), '') as chosen (value)
   where chosen.value in ('on', 'off')
  on conflict (name) do update set value = excluded.value, changed_at = clock_timestamp() where s.value <> excluded.value
$record$;
revoke all on function omnicdc.record_writers() from public;
