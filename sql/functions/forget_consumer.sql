-- omnicdc.forget_consumer(consumer, most): removes a consumer's row and its generations; raises OC001 if its daemon is connected.
--
-- The consumer's name is locked until the end of the transaction, so a daemon that connects meanwhile waits for that.
-- most: how many generations are deleted at once.
-- Result: whether the consumer is gone; if not, call it again.   Tables written: omnicdc.consumer, omnicdc.history.
-- Repeat: harmless. A daemon that comes back gets a new row, and scans everything as at any start.
create or replace function omnicdc.forget_consumer(consumer text, most integer default 5000) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on
as $forget$
declare
  generations bigint;
begin
  if not pg_try_advisory_xact_lock(omnicdc.consumer_lock(consumer)) then
    raise exception 'omnicdc: the daemon of consumer % is connected', consumer
      using errcode = 'OC001', hint = 'stop it first: `systemctl stop omnicdc` on its host';
  end if;
  delete from omnicdc.history h
   where h.id in (select own.id from omnicdc.history own
                   where own.consumer = forget_consumer.consumer order by own.id limit most);
  get diagnostics generations = row_count;
  if generations = most then
    -- A daemon that comes back before the next call continues with the generations that are left.
    update omnicdc.consumer c set history_pruned = true where c.name = forget_consumer.consumer and not c.history_pruned;
    return false;
  end if;
  delete from omnicdc.consumer c where c.name = forget_consumer.consumer;
  return true;
end
$forget$;
revoke all on function omnicdc.forget_consumer(text, integer) from public;
grant execute on function omnicdc.forget_consumer(text, integer) to omnicdc_daemon;
