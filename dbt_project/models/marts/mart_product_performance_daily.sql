-- What happened to a product on a date. Money of different currencies is never added.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'event_date', 'reach': 'events'},
    sort=['event_date', 'product_id']
) }}
with events as (
    select * from {{ ref('fct_events') }} where {{ in_built_dates('event_date') }}
),

lines as (
    select * from {{ ref('int_event_products') }}
    where product_id is not null
        and event_type in ('order_completed', 'order_refunded')
        and {{ in_built_dates('event_date') }}
),

happenings as (
    select
        event_date, product_id, currency, visitor_id, event_key, event_type,
        cast(0 as bigint) as units,
        cast(0 as decimal(28, 4)) as amount
    from events
    where product_id is not null and event_type in ('product_viewed', 'product_added', 'product_removed')
    union all
    select
        lines.event_date, lines.product_id, lines.currency, events.visitor_id, lines.event_key, lines.event_type,
        coalesce(lines.quantity, 1) as units,
        cast(coalesce(lines.price, 0) * coalesce(lines.quantity, 1) as decimal(28, 4)) as amount
    from lines
    inner join events on events.event_key = lines.event_key
),

totals as (
    select
        event_date, product_id, currency,
        {%- for name, event_type in {
            'views': 'product_viewed', 'adds': 'product_added', 'removes': 'product_removed',
        }.items() %}
        cast(sum(case when event_type = '{{ event_type }}' then 1 else 0 end) as bigint) as {{ name }},
        {%- endfor %}
        {%- for name, event_type in {
            'viewers': 'product_viewed', 'adders': 'product_added', 'buyers': 'order_completed',
        }.items() %}
        cast(count(distinct case when event_type = '{{ event_type }}' then visitor_id end) as bigint) as {{ name }},
        {%- endfor %}
        cast(count(distinct case when event_type = 'order_completed' then event_key end) as bigint) as orders,
        {%- for units, amount, event_type in [
            ('units', 'gross_revenue', 'order_completed'), ('units_refunded', 'refunds', 'order_refunded'),
        ] %}
        cast(sum(case when event_type = '{{ event_type }}' then units else 0 end) as bigint) as {{ units }},
        cast(sum(case when event_type = '{{ event_type }}' then amount else 0 end) as decimal(28, 4)) as {{ amount }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from happenings
    group by event_date, product_id, currency
)

select
    event_date, product_id, currency, views, viewers, adds, adders, removes, orders, buyers, units, units_refunded,
    gross_revenue, refunds,
    cast(gross_revenue - refunds as decimal(28, 4)) as net_revenue
from totals
