-- omnicdc.identity(): which cluster this is, and on which timeline; snapshots of another cluster or timeline are not valid here.
--
-- Where the control file cannot be read (Amazon Aurora: SQLSTATE 55000 or 0A000; elsewhere the right is revoked, or the function
-- is missing), a hash of the oids of the database, the schema and the log identifies the cluster: a cluster restored from a dump has
-- other oids, a physical copy has the same. Where the WAL's position cannot be read, the timeline is that of the last checkpoint,
-- or 0: then a promotion or a restore to a point in time is not detected by it. docs/install.md explains the consequences.
-- A promotion is in the control file only after a checkpoint, so the WAL is read first.   Tables written: none.
create or replace function omnicdc.identity(out system_identifier bigint, out timeline integer) returns record
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $identity$
begin
  begin
    select s.system_identifier into strict system_identifier from pg_control_system() s;
  exception when feature_not_supported or insufficient_privilege or undefined_function or object_not_in_prerequisite_state then
    -- Negative, so that it never equals a number of PostgreSQL's own, which begins with the time of initdb.
    select -('x' || substr(omnicdc.hash_of(concat_ws(' ', d.oid, n.oid, n.xmin, c.oid, c.xmin)), 1, 15))::bit(60)::bigint
      into strict system_identifier
      from pg_database d, pg_namespace n, pg_class c
     where d.datname = current_database() and n.nspname = 'omnicdc' and c.oid = 'omnicdc.change'::regclass;
  end;
  begin
    if not pg_is_in_recovery() then
      timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
      return;
    end if;
  exception when feature_not_supported or insufficient_privilege or undefined_function or object_not_in_prerequisite_state then
    null;
  end;
  begin
    select c.timeline_id into strict timeline from pg_control_checkpoint() c;
  exception when feature_not_supported or insufficient_privilege or undefined_function or object_not_in_prerequisite_state then
    timeline := 0;
  end;
end
$identity$;
revoke all on function omnicdc.identity() from public;
grant execute on function omnicdc.identity() to omnicdc_daemon, omnicdc_client;
