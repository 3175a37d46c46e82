-- omnicdc.hash_of(content): the SHA-256 of a text, in hexadecimal digits; NULL of NULL.
--
-- Not md5(), because a server in FIPS mode refuses it. Converted to the database's own encoding, which changes no byte.
-- One expression without settings of its own, so that PostgreSQL inlines it.   Tables written: none.
create or replace function omnicdc.hash_of(content text) returns text
language sql stable
as $hash$
  select pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(content, pg_catalog.getdatabaseencoding())), 'hex')
$hash$;
revoke all on function omnicdc.hash_of(text) from public;
