-- What `product_counters` has to say of each product, date and hour.
with hours as (
    select
        concat(product_id, '/', strftime(event_date, '%Y-%m-%d')) as key,
        hour as sort,
        cast(count(*) filter (where event_type = 'product_viewed') as bigint) as views,
        cast(count(*) filter (where event_type = 'product_added') as bigint) as adds,
        cast(count(*) filter (where event_type = 'order_completed') as bigint) as purchases
    from happenings
    where counts
    group by product_id, event_date, hour
)

select
    key,
    sort,
    concat_ws(', ', 'adds:' || adds, 'hour=' || sort, 'purchases:' || purchases, 'views:' || views) as said,
    cast(null as varchar) as event_id,
    true as is_due
from hours
where not getvariable('is_narrow') or key in (select key from wanted)
