-- Whether a consumer's files show everything that its inputs hold: clones, GitHub, overrides and exclusions.
alter table omnicdc.consumer add column inputs jsonb;
comment on column omnicdc.consumer.inputs is
  'What it knows of its inputs: state (current or looking), waiting_for, faults, fault_count, notices, notice_count.';
comment on column omnicdc.change.op is 'insert, update, delete, truncate, rebuild, accept or look.';
