-- The hours in which products were viewed, or put into carts: one row per record, counted or not.
select
    product_id,
    event_date,
    left(occurred_text, 13) || ':00:00Z' as hour,
    event_type,
    counts,
    last_appended >= getvariable('settled_until') as is_stirred
from counting
where product_id is not null
