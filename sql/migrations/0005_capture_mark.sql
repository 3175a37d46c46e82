-- What a consumer has read everything of: without it, a change that the capture did not note would count as published.
alter table omnicdc.consumer add column capture text;
comment on column omnicdc.consumer.capture is 'omnicdc.capture_mark() when it last read everything.';
