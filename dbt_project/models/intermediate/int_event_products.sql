-- The products that a counted event lists, one row per line.
with lines as (
    select * from {{ ref('stg_event_products') }}
),

events as (
    select * from {{ ref('stg_events') }}
)

select
    events.event_key, lines.event_date, lines.event_type, lines.line_number,
    lines.product_id, lines.category, lines.brand, lines.price,
    coalesce(lines.currency, events.currency) as currency,
    lines.quantity
from lines
inner join events
    on events.event_date = lines.event_date
    and events.topic_id = lines.topic_id
    and events.kafka_partition = lines.kafka_partition
    and events.kafka_offset = lines.kafka_offset
