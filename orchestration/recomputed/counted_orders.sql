-- The hours in which products were bought: one row per record and product, however many lines of an order name it.
with lines as (
    select counting.*, unnest(list_distinct(list_transform(products, lambda line: line.product_id))) as bought
    from counting
)

select
    bought as product_id,
    event_date,
    left(occurred_text, 13) || ':00:00Z' as hour,
    event_type,
    counts,
    last_appended >= getvariable('settled_until') as is_stirred
from lines
where bought is not null
