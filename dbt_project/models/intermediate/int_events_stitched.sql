-- Every event with its visitor: an anonymous event belongs to the first user that its anonymous_id was tied to at that
-- moment or within stitch_days after it. A later tie re-keys earlier dates; int_rekeyed_dates names them.
-- depends_on: {{ ref('int_rekeyed_dates') }}
{{ config(
    materialized='incremental', incremental_strategy='replace_partitions',
    meta={'partition': 'event_date', 'reach': 'events'},
    dist='visitor_id', sort=['event_date']
) }}
with events as (
    select * from {{ ref('stg_events') }} where {{ in_built_dates('event_date') }}
),

anonymous_events as (
    select anonymous_id, occurred_us from events where user_id is null and anonymous_id is not null
),

ties as (
    select anonymous_id, occurred_us, user_id
    from {{ ref('stg_events') }}
    where user_id is not null
        and anonymous_id is not null
        and {{ in_built_dates('event_date', after=var('stitch_days') | int) }}
),

{{ first_ties('anonymous_events', 'ties') }}

select
    events.event_key, events.event_date, events.occurred_at, events.occurred_us,
    {{ visitor('events', 'first_ties') }} as visitor_id,
    events.user_id, events.anonymous_id, events.event_type, events.source, events.app_session_id, events.app_name,
    events.device_type, events.product_id, events.category, events.brand, events.price, events.quantity,
    events.currency, events.order_id, events.order_value
from events
left join first_ties
    on first_ties.anonymous_id = events.anonymous_id
    and first_ties.occurred_us = events.occurred_us
    and events.user_id is null
