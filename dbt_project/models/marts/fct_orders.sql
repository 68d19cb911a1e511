-- Orders with the first and the last session that led to them: of the visitor, within touch_days before the order. Both
-- are found by a running minimum and maximum over the visitor's sessions and orders on one timeline.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'event_date', 'reach': 'orders'},
    dist='visitor_id', sort=['event_date']
) }}
{%- set touch_days = var('touch_days') | int %}
with orders as (
    select * from {{ ref('fct_events') }} where event_type = 'order_completed' and {{ in_built_dates('event_date') }}
),

lines as (
    select
        event_key,
        cast(count(*) as bigint) as lines,
        cast(sum(coalesce(quantity, 1)) as bigint) as units
    from {{ ref('int_event_products') }}
    where event_type = 'order_completed' and {{ in_built_dates('event_date') }}
    group by event_key
),

sessions as (
    select visitor_id, source, device_type, session_started_at, {{ to_us('session_started_at') }} as started_us
    from {{ ref('fct_sessions') }}
    where {{ in_built_dates('session_date', before=touch_days) }}
),

moments as (
    select distinct visitor_id, occurred_us from orders where visitor_id is not null
),

timeline as (
    select visitor_id, occurred_us - {{ touch_days * day_us() }} as point_us, 'opens' as role, occurred_us from moments
    union all
    select visitor_id, started_us as point_us, 'touch' as role, cast(null as bigint) as occurred_us from sessions
    union all
    select visitor_id, occurred_us as point_us, 'order' as role, occurred_us from moments
),

sighted as (
    select
        visitor_id,
        role,
        occurred_us,
        min(case when role = 'touch' then point_us end) over (
            partition by visitor_id
            order by point_us desc, role desc
            rows between unbounded preceding and current row
        ) as next_touch_us,
        max(case when role = 'touch' then point_us end) over (
            partition by visitor_id
            order by point_us, case when role = 'touch' then 0 else 1 end
            rows between unbounded preceding and current row
        ) as last_touch_us
    from timeline
),

touches as (
    select
        visitor_id,
        occurred_us,
        max(case when role = 'opens' then next_touch_us end) as first_touch_us,
        max(case when role = 'order' then last_touch_us end) as last_touch_us
    from sighted
    where role <> 'touch'
    group by visitor_id, occurred_us
),

led_to as (  -- a session that the order follows by no more than touch_days
    select
        visitor_id,
        occurred_us,
        case when first_touch_us <= occurred_us then first_touch_us end as first_touch_us,
        case when last_touch_us >= occurred_us - {{ touch_days * day_us() }} then last_touch_us end as last_touch_us
    from touches
)

select
    orders.event_key, orders.event_date, orders.occurred_at as ordered_at, orders.visitor_id, orders.session_id,
    orders.order_id, orders.currency, orders.order_value,
    coalesce(lines.lines, 0) as lines,
    coalesce(lines.units, 0) as units,
    orders.source, orders.device_type,
    first_touch.session_started_at as first_touch_at,
    first_touch.source as first_touch_source,
    first_touch.device_type as first_touch_device_type,
    last_touch.session_started_at as last_touch_at,
    last_touch.source as last_touch_source,
    last_touch.device_type as last_touch_device_type
from orders
left join lines on lines.event_key = orders.event_key
left join led_to on led_to.visitor_id = orders.visitor_id and led_to.occurred_us = orders.occurred_us
left join sessions as first_touch
    on first_touch.visitor_id = led_to.visitor_id and first_touch.started_us = led_to.first_touch_us
left join sessions as last_touch
    on last_touch.visitor_id = led_to.visitor_id and last_touch.started_us = led_to.last_touch_us
