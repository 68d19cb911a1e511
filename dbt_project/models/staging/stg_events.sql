-- Every event once. Records are copies of one event where source, event_id, event_type, visitor and device_occurred_at
-- agree. A record counts unless a copy that was received before it lies on its own event date or on a neighbouring one:
-- its fate hangs on three dates and on no delay.
{{ config(
    incremental_strategy='replace_partitions',
    meta={'partition': 'event_date', 'reach': 'events'},
    dist='event_key', sort=['event_date']
) }}
with records as (
    select * from {{ ref('stg_event_records') }}
    where {{ in_built_dates('event_date', before=1, after=1) }} and {{ in_built_times('occurred_at', before=1, after=1) }}
),

identified as (
    select
        records.*,
        {{ hash_of(['source', 'event_id', 'event_type', 'user_id', 'anonymous_id', to_us('device_occurred_at')]) }}
            as content_hash
    from records
),

placed as (
    select
        identified.*,
        row_number() over (
            partition by content_hash
            order by received_at, kafka_topic, kafka_partition, kafka_offset, topic_id
        ) as place
    from identified
),

numbered as (
    select placed.*, row_number() over (partition by content_hash, event_date order by place) as place_on_date
    from placed
),

compared as (
    select
        numbered.*,
        lag(event_date) over (partition by content_hash order by event_date) as earlier_date,
        lag(place) over (partition by content_hash order by event_date) as earlier_place,
        lead(event_date) over (partition by content_hash order by event_date) as later_date,
        lead(place) over (partition by content_hash order by event_date) as later_place
    from numbered
    where place_on_date = 1
)

select
    cast(content_hash || '-' || cast(event_date as varchar(10)) as varchar(43)) as event_key,
    event_date, occurred_at, occurred_us, received_at, event_type, source, event_id, user_id, anonymous_id,
    app_session_id, app_name, device_type, product_id, category, brand, price, quantity, currency, order_id, order_value,
    topic_id, kafka_partition, kafka_offset
from compared
where {{ in_built_dates('event_date') }}
    and not coalesce(earlier_date = {{ plus_days('event_date', -1) }} and earlier_place < place, false)
    and not coalesce(later_date = {{ plus_days('event_date', 1) }} and later_place < place, false)
