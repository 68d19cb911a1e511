-- Records that fit no columns; they are in no other model. They have no event date, so they are known by landing hour.
with records as (
    {%- for event_type in event_types() %}
    select '{{ event_type }}' as event_type, landing_error, landing_hour, topic_id, kafka_partition, kafka_offset
    from {{ source('raw', event_type) }}
    where landing_error is not null
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
)

select
    cast(event_type as varchar(64)) as event_type,
    cast(landing_hour as varchar(256)) as landing_hour,
    cast(landing_error as varchar(1024)) as landing_error,
    cast(topic_id as varchar(256)) as topic_id,
    cast(kafka_partition as integer) as kafka_partition,
    cast(kafka_offset as bigint) as kafka_offset
from records
