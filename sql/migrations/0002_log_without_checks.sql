-- The log's checks go: PostgreSQL parses and prepares them anew for each statement of CMP that writes a row of it, which
-- took a sixth of the capture's time for one row and nearly half for many. Nobody but omnicdc's functions writes here.
alter table omnicdc.change
  drop constraint op_is_known,
  drop constraint fields_belong_to_an_update;
comment on column omnicdc.change.op is 'insert, update, delete, truncate, rebuild or accept.';
comment on column omnicdc.change.fields is 'The watched columns that an update changed. NULL: the whole row.';
comment on column omnicdc.watch.source_hash is 'md5 of note_row() and of the generated note_update(): an edited one is noticed.';
