-- A consumer's oldest generation that is left is the first that it had only if none was pruned.

alter table omnicdc.consumer add column history_pruned boolean not null default true;
-- Of the consumers that are there it is not known.
alter table omnicdc.consumer alter column history_pruned set default false;
comment on column omnicdc.consumer.history_pruned is
  'Whether generations of it were deleted: then the oldest one that is left is not taken for the first that showed a transaction.';
