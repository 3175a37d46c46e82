-- The hash is no longer md5, which a server in FIPS mode refuses; the next watch() writes it anew. The policies come from policies.sql.
comment on column omnicdc.watch.source_hash is 'SHA-256 of note_row() and of the generated note_update(): an edited one is noticed.';
