-- Revenue net of refunds. A refund counts on the date on which it was made.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'event_date', 'reach': 'events'},
    sort=['event_date']
) }}
with events as (
    select * from {{ ref('fct_events') }}
    where event_type in ('order_completed', 'order_refunded') and {{ in_built_dates('event_date') }}
),

totals as (
    select
        event_date, source, currency,
        cast(sum(case when event_type = 'order_completed' then 1 else 0 end) as bigint) as orders,
        cast(sum(case when event_type = 'order_refunded' then 1 else 0 end) as bigint) as refunds_made,
        cast(count(distinct case when event_type = 'order_completed' then visitor_id end) as bigint) as buyers,
        cast(sum(case when event_type = 'order_completed' then coalesce(order_value, 0) else 0 end) as decimal(28, 4))
            as gross_revenue,
        cast(sum(case when event_type = 'order_refunded' then coalesce(order_value, 0) else 0 end) as decimal(28, 4))
            as refunds
    from events
    group by event_date, source, currency
)

select
    event_date, source, currency, orders, refunds_made, buyers, gross_revenue, refunds,
    cast(gross_revenue - refunds as decimal(28, 4)) as net_revenue
from totals
