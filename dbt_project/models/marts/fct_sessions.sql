-- One row per session, on the date on which it began.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'session_date', 'reach': 'sessions'},
    dist='visitor_id', sort=['session_date']
) }}
with events as (
    select * from {{ ref('fct_events') }}
    where session_id is not null
        and {{ in_built_dates('event_date', after=var('session_max_days') | int) }}
        and {{ in_built_dates('session_date') }}
),

sessions as (
    select
        session_id,
        session_date,
        visitor_id,
        session_started_at,
        max(occurred_at) as session_ended_at,
        min(occurred_us) as first_us,
        max(occurred_us) as last_us,
        cast(count(*) as bigint) as events,
        {%- for name, event_type in {
            'product_views': 'product_viewed', 'searches': 'products_searched', 'products_added': 'product_added',
            'products_removed': 'product_removed', 'checkouts': 'checkout_started', 'orders': 'order_completed',
        }.items() %}
        cast(sum(case when event_type = '{{ event_type }}' then 1 else 0 end) as bigint) as {{ name }},
        {%- endfor %}
        cast(count(distinct product_id) as bigint) as distinct_products,
        max(case when event_in_session = 1 then source end) as source,
        max(case when event_in_session = 1 then device_type end) as device_type,
        max(case when event_in_session = 1 then app_name end) as app_name,
        max(case when event_in_session = 1 then event_type end) as first_event_type
    from events
    group by session_id, session_date, visitor_id, session_started_at
)

select
    session_id, session_date, visitor_id, session_started_at, session_ended_at,
    {{ seconds_between('first_us', 'last_us') }} as duration_seconds,
    events, product_views, distinct_products, searches, products_added, products_removed, checkouts, orders,
    events = 1 as is_bounce,
    source, device_type, app_name, first_event_type
from sessions
