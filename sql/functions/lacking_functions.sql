-- omnicdc.lacking_functions(): which functions of PostgreSQL's own a role of omnicdc needs and may not call.
--
-- By default every role may call them; a DBA can revoke that from PUBLIC. `optional` are those that have a replacement, see
-- omnicdc.identity(). The functions of operators are not checked: without them, no query of any user would work.
-- The list is kept complete by tests/capture/test_revoked.py.   Tables written: none.
create or replace function omnicdc.lacking_functions(out role name, out function oid, out optional boolean) returns setof record
language plpgsql stable set search_path = pg_catalog, pg_temp
as $lacking$
declare
  always constant name[] := '{
    array_agg, array_remove, bit, bool_and, bool_or, clock_timestamp, concat, concat_ws, convert_to, count, current_database,
    current_setting, encode, extract, format, generate_series, getdatabaseencoding, has_column_privilege, has_function_privilege,
    has_schema_privilege, has_table_privilege, hashtext, jsonb_array_elements_text, jsonb_build_object, jsonb_each,
    jsonb_object_agg, jsonb_populate_record, length, lower, max, min, parse_ident, pg_advisory_unlock,
    pg_advisory_unlock_shared, pg_backend_pid, pg_blocking_pids, pg_current_snapshot, pg_current_xact_id,
    pg_current_xact_id_if_assigned, pg_get_expr,
    pg_get_userbyid, pg_has_role, pg_is_in_recovery, pg_notification_queue_usage, pg_notify, pg_partition_ancestors, pg_partition_tree,
    pg_postmaster_start_time, pg_relation_filenode, pg_snapshot_xip, pg_snapshot_xmax, pg_snapshot_xmin, pg_try_advisory_lock,
    pg_try_advisory_lock_shared, pg_try_advisory_xact_lock, pg_try_advisory_xact_lock_shared, pg_typeof,
    pg_visible_in_snapshot, pg_xact_status, position, quote_ident, row_number, row_security_active, set_config, sha256, split_part,
    starts_with, string_agg, substr, sum, to_jsonb, to_regclass, to_regnamespace, to_regprocedure, to_regrole, unnest}';
  replaceable constant name[] := '{pg_control_checkpoint, pg_control_system, pg_current_wal_lsn, pg_walfile_name}';
begin
  return query
    select r.rolname, p.oid, p.proname = any (replaceable)
      from pg_proc p
     cross join pg_roles r
     where p.proname = any (always || replaceable) and p.pronamespace = 'pg_catalog'::regnamespace and p.proacl is not null
       and r.rolname in ('omnicdc_owner', 'omnicdc_daemon', 'omnicdc_client')
       and not has_function_privilege(r.oid, p.oid, 'execute')
     order by p.proname, r.rolname, p.oid;
end
$lacking$;
revoke all on function omnicdc.lacking_functions() from public;
