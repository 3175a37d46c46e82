-- What daemons and clients may do with omnicdc's tables. Renewed at every install; the functions grant for themselves.
grant usage on schema omnicdc to omnicdc_daemon, omnicdc_client;
grant select on omnicdc.migration, omnicdc.watch, omnicdc.change, omnicdc.consumer, omnicdc.history, omnicdc.allowed_publication,
  omnicdc.quarantine
  to omnicdc_daemon, omnicdc_client;
grant insert, update on omnicdc.consumer to omnicdc_daemon;
grant insert on omnicdc.history to omnicdc_daemon;
grant insert, update, delete on omnicdc.quarantine to omnicdc_daemon;
