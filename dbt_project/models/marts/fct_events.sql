-- Every event with its visitor and session. A pause of more than session_gap_minutes begins a session, named by its
-- visitor and its first moment. It owns events up to session_max_days after its first date; later events of the same
-- chain (bots) have no session, as have events without a visitor.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'event_date', 'reach': 'session_events'},
    dist='visitor_id', sort=['event_date']
) }}
{%- set max_days = var('session_max_days') | int %}
{%- set gap_us = (var('session_gap_minutes') | int) * 60 * 1000000 %}
with events as (
    select * from {{ ref('int_events_stitched') }}
    where {{ in_built_dates('event_date', before=max_days + 1) }}
),

paused as (
    select
        events.*,
        lag(occurred_us) over (partition by visitor_id order by occurred_us, event_key) as previous_us
    from events
),

chained as (
    select
        paused.*,
        max(case when previous_us is null or occurred_us - previous_us > {{ gap_us }} then occurred_us end) over (
            partition by visitor_id
            order by occurred_us, event_key
            rows between unbounded preceding and current row
        ) as chain_us
    from paused
),

started as (
    select chained.*, {{ from_us('chain_us') }} as chain_started_at
    from chained
),

owned as (
    select
        started.*,
        case
            when visitor_id is not null
                and cast(chain_started_at as date) >= {{ plus_days('event_date', -max_days) }}
                then chain_us
        end as session_us
    from started
),

numbered as (
    select
        owned.*,
        row_number() over (partition by visitor_id, session_us order by occurred_us, event_key) as place
    from owned
)

select
    event_key, event_date, occurred_at, occurred_us, visitor_id,
    case when session_us is not null then cast(visitor_id || '-' || cast(session_us as varchar(20)) as varchar(161)) end
        as session_id,
    case when session_us is not null then cast(chain_started_at as date) end as session_date,
    case when session_us is not null then chain_started_at end as session_started_at,
    case when session_us is not null then cast(place as bigint) end as event_in_session,
    user_id, anonymous_id, event_type, source, app_session_id, app_name, device_type, product_id, category, brand,
    price, quantity, currency, order_id, order_value
from numbered
where {{ in_built_dates('event_date') }}
