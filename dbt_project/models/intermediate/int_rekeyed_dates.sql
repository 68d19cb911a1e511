-- Dates, besides those that are built anyhow, on which a login or a changed tie gives an anonymous event another visitor.
-- The hook touches them: they stay stale until a build names them, whatever becomes of this run.
-- depends_on: {{ ref('stg_event_records') }}
{{ config(materialized='table', post_hook="{{ touch_rekeyed_dates() }}", meta={'reach': 'events'}) }}
{%- set stitch_days = var('stitch_days') | int %}
{%- set stitched = this.incorporate(path={'identifier': 'int_events_stitched'}) %}
{%- if built_some_dates(stitched) %}
with changed_ids as (
    select distinct anonymous_id
    from {{ ref('stg_event_records') }}
    where user_id is not null and anonymous_id is not null and {{ in_days('event_date', named_days()) }}
),

anonymous_events as (
    select stored.anonymous_id, stored.user_id, stored.occurred_us, stored.event_date, stored.visitor_id
    from {{ stitched }} as stored
    inner join changed_ids on changed_ids.anonymous_id = stored.anonymous_id
    where stored.user_id is null
        and {{ in_days('stored.event_date', widened(named_days(), stitch_days, 0)) }}
        and not {{ in_days('stored.event_date', named_days()) }}
),

ties as (
    select events.anonymous_id, events.occurred_us, events.user_id
    from {{ ref('stg_events') }} as events
    inner join changed_ids on changed_ids.anonymous_id = events.anonymous_id
    where events.user_id is not null
        and {{ in_days('events.event_date', widened(named_days(), stitch_days, stitch_days)) }}
),

{{ first_ties('anonymous_events', 'ties') }}

select distinct cast(anonymous_events.event_date as date) as event_date
from anonymous_events
left join first_ties
    on first_ties.anonymous_id = anonymous_events.anonymous_id
    and first_ties.occurred_us = anonymous_events.occurred_us
where {{ visitor('anonymous_events', 'first_ties') }} <> anonymous_events.visitor_id
{%- else %}
select cast(null as date) as event_date
from {{ ref('stg_events') }}
where 1 = 0
{%- endif %}
