-- Other people's publications; retention that reads no more than it deletes; consumers that leave.

-- Else PostgreSQL refuses to delete the canary where a publication carries it: it has no primary key.
alter table omnicdc.canary replica identity full;

create table omnicdc.allowed_publication (
  name text primary key,
  allowed_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table omnicdc.allowed_publication is 'Publications that may carry omnicdc''s tables, as `omnicdc install --allow-publication` was told.';

-- Retention walks the log by transaction id, from the oldest on: what is deleted makes room for what is new, so that a BRIN
-- index on `at` would soon cover every page. The same function with a bound takes the place of the one without.
drop index omnicdc.change_at_idx;
do $replaced$
begin
  if pg_catalog.to_regprocedure('omnicdc.prune(interval, interval)') is not null then
    drop function omnicdc.prune(interval, interval);
  end if;
end
$replaced$;
create index history_at_idx on omnicdc.history (at);

alter table omnicdc.consumer
  add column daemon boolean not null default true,
  add column silent_limit interval;
comment on column omnicdc.consumer.daemon is 'Whether a daemon serves it; not so after `run --once`, and then it holds no log back.';
comment on column omnicdc.consumer.silent_limit is 'Silent for longer it holds no log back, and is forgotten. As its own configuration says.';

alter table omnicdc.consumer add column quarantined_counts jsonb not null default '{}';
comment on column omnicdc.consumer.quarantined is 'Registry to project id to reason: the first hundred of each. All are in omnicdc.quarantine.';
comment on column omnicdc.consumer.quarantined_counts is 'Registry to the number of its projects that are held back.';

create table omnicdc.quarantine (
  consumer text not null references omnicdc.consumer (name) on delete cascade,
  registry text not null,
  project_id text not null,
  reason text not null,
  primary key (consumer, registry, project_id)
);
comment on table omnicdc.quarantine is 'Every project that a consumer holds back from a registry. A generation writes what changed.';
