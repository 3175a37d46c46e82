-- Whose word a consumer's row is: after a restore, a failover or a table made anew, the row alone may tell of another past.
alter table omnicdc.consumer
  add column backend integer,
  add column place text;
comment on column omnicdc.consumer.backend is 'The session that wrote the row: its word counts as long as it holds the name.';
comment on column omnicdc.consumer.place is 'Which tables it compared its files with: omnicdc.place().';
