-- A row per date on which anything happened. Money is in mart_revenue_daily, which keeps currencies apart.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'event_date', 'reach': 'kpis'}, sort=['event_date']
) }}
with activity as (
    select
        event_date,
        cast(count(distinct visitor_id) as bigint) as visitors,
        cast(count(*) as bigint) as events,
        cast(sum(case when event_type = 'product_viewed' then 1 else 0 end) as bigint) as product_views,
        cast(sum(case when event_type = 'product_added' then 1 else 0 end) as bigint) as products_added,
        cast(sum(case when event_type = 'order_completed' then 1 else 0 end) as bigint) as orders,
        cast(count(distinct case when event_type = 'order_completed' then visitor_id end) as bigint)
            as ordering_visitors
    from {{ ref('fct_events') }}
    where {{ in_built_dates('event_date') }}
    group by event_date
),

sessions as (
    select
        session_date,
        cast(count(*) as bigint) as sessions,
        cast(sum(case when is_bounce then 1 else 0 end) as bigint) as bounces,
        cast(sum(case when orders > 0 then 1 else 0 end) as bigint) as converting_sessions
    from {{ ref('fct_sessions') }}
    where {{ in_built_dates('session_date') }}
    group by session_date
)

select
    activity.event_date, activity.visitors, activity.events, activity.product_views, activity.products_added,
    activity.orders, activity.ordering_visitors,
    coalesce(sessions.sessions, 0) as sessions,
    coalesce(sessions.bounces, 0) as bounces,
    coalesce(sessions.converting_sessions, 0) as converting_sessions,
    cast(cast(sessions.converting_sessions as decimal(18, 6)) / nullif(cast(sessions.sessions as decimal(18, 6)), 0)
        as decimal(9, 6)) as session_conversion
from activity
left join sessions on sessions.session_date = activity.event_date
