-- Every record that fits, of every type, with the columns that most analyses ask for; copies of an event are still there.
{%- set properties = {
    'product_id': 'varchar(128)', 'category': 'varchar(256)', 'brand': 'varchar(128)', 'price': 'decimal(18, 4)',
    'quantity': 'bigint', 'currency': 'varchar(3)', 'order_id': 'varchar(128)',
    'total': 'decimal(18, 4)', 'revenue': 'decimal(18, 4)', 'subtotal': 'decimal(18, 4)',
} %}
with records as (
    {%- for event_type, columns in event_types().items() %}
    select
        event_type, source, event_id, user_id, anonymous_id, app_session_id, device_occurred_at, occurred_at,
        received_at, event_date, app_name, device_type, topic_id, kafka_topic, kafka_partition, kafka_offset,
        {%- for name, kind in properties.items() %}
        {{ name if name in columns else 'cast(null as ' ~ kind ~ ')' }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('stg_' ~ event_type) }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
)

select
    event_type, source, event_id, user_id, anonymous_id, app_session_id, device_occurred_at, occurred_at,
    cast({{ to_us('occurred_at') }} as bigint) as occurred_us,
    received_at, event_date, app_name, device_type, product_id, category, brand, price, quantity, currency, order_id,
    cast(coalesce(total, revenue, subtotal) as decimal(18, 4)) as order_value,
    topic_id, kafka_topic, kafka_partition, kafka_offset
from records
