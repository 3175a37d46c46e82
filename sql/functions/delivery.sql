-- omnicdc.delivery(consumer, token): the first generation of a consumer that showed a transaction; no row if none did, or if
-- that is not known any more because older generations were pruned.
--
-- A generation shows everything that an earlier one showed. So the search steps back from the newest, each step twice as long as
-- the one before, and then halves the last step: a recent generation is found at once, one of a week ago in some
-- forty steps, however many there were.   Tables written: none.
create or replace function omnicdc.delivery(consumer text, token xid8) returns setof omnicdc.history
language plpgsql stable rows 1 set search_path = pg_catalog, pg_temp
as $delivery$
declare
  showing omnicdc.history;
  probe omnicdc.history;
  not_before bigint := 0;  -- no generation up to this one is the answer
  step bigint := 1;
  has_predecessor boolean := false;  -- whether a generation that lacks the transaction is left
begin
  select * into showing from omnicdc.history h where h.consumer = delivery.consumer order by h.id desc limit 1;
  if not found or not pg_visible_in_snapshot(token, showing.snapshot) then
    return;
  end if;
  loop
    select * into probe from omnicdc.history h
     where h.consumer = delivery.consumer and h.id <= showing.id - step order by h.id desc limit 1;
    exit when not found;
    if not pg_visible_in_snapshot(token, probe.snapshot) then
      not_before := probe.id;
      has_predecessor := true;
      exit;
    end if;
    showing := probe;
    step := step * 2;
  end loop;
  while showing.id - not_before > 1 loop
    select * into probe from omnicdc.history h
     where h.consumer = delivery.consumer and h.id > not_before and h.id <= not_before + (showing.id - not_before) / 2
     order by h.id desc limit 1;
    if not found then
      not_before := not_before + (showing.id - not_before) / 2;
    elsif pg_visible_in_snapshot(token, probe.snapshot) then
      showing := probe;
    else
      not_before := probe.id;
      has_predecessor := true;
    end if;
  end loop;
  if has_predecessor
     or not exists (select from omnicdc.consumer c where c.name = delivery.consumer and c.history_pruned) then
    return next showing;
  end if;
end
$delivery$;
revoke all on function omnicdc.delivery(text, xid8) from public;
grant execute on function omnicdc.delivery(text, xid8) to omnicdc_daemon, omnicdc_client;
