-- The products that a record lists, one row per line; join to stg_events on where the log held the record.
with lines as (
    {%- for event_type in event_types_with_products() %}
    select '{{ event_type }}' as event_type, products.*
    from ({{ unnested_products(source('raw', event_type)) }}) as products
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
)

select
    cast(event_type as varchar(64)) as event_type,
    event_date, topic_id, kafka_partition, kafka_offset, line_number,
    product_id, category, brand, price, currency, quantity
from lines
