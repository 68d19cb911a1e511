-- How many records of a date are copies of an event that counts already.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'event_date', 'reach': 'events'}, sort=['event_date']
) }}
with records as (
    select event_date, event_type, source, cast(count(*) as bigint) as records
    from {{ ref('stg_event_records') }}
    where {{ in_built_dates('event_date') }} and {{ in_built_times('occurred_at') }}
    group by event_date, event_type, source
),

events as (
    select event_date, event_type, source, cast(count(*) as bigint) as events
    from {{ ref('stg_events') }}
    where {{ in_built_dates('event_date') }}
    group by event_date, event_type, source
)

select
    records.event_date, records.event_type, records.source, records.records,
    coalesce(events.events, 0) as events,
    records.records - coalesce(events.events, 0) as duplicates
from records
left join events
    on events.event_date = records.event_date
    and events.event_type = records.event_type
    and events.source = records.source
