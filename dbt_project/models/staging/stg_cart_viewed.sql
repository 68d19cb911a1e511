-- Generated from ingestion/events.py by `python -m orchestration.dbt_sources`: change the contract instead.
with records as (
    select * from {{ source('raw', 'cart_viewed') }}
)

select
    cast(event_id as varchar(128)) as event_id,
    cast(event_type as varchar(64)) as event_type,
    cast(contract_version as bigint) as contract_version,
    cast(occurred_at as timestamp) as occurred_at,
    cast(received_at as timestamp) as received_at,
    cast(source as varchar(64)) as source,
    cast(device_occurred_at as timestamp) as device_occurred_at,
    cast(sent_at as timestamp) as sent_at,
    cast(user_id as varchar(128)) as user_id,
    cast(anonymous_id as varchar(128)) as anonymous_id,
    cast(session_id as varchar(128)) as app_session_id,
    cast(device_sequence as bigint) as device_sequence,
    cast(flags as varchar(128)) as flags,
    cast(app_name as varchar(64)) as app_name,
    cast(app_version as varchar(32)) as app_version,
    cast(device_id as varchar(128)) as device_id,
    cast(device_type as varchar(32)) as device_type,
    cast(device_model as varchar(64)) as device_model,
    cast(device_os_name as varchar(32)) as device_os_name,
    cast(device_os_version as varchar(32)) as device_os_version,
    cast(device_locale as varchar(32)) as device_locale,
    cast(cart_id as varchar(128)) as cart_id,
    cast(currency as varchar(3)) as currency,
    cast(topic_id as varchar(256)) as topic_id,
    cast(kafka_topic as varchar(256)) as kafka_topic,
    cast(kafka_partition as integer) as kafka_partition,
    cast(kafka_offset as bigint) as kafka_offset,
    cast(kafka_timestamp as timestamp) as kafka_timestamp,
    cast(landing_hour as varchar(256)) as landing_hour,
    cast(occurred_at as date) as event_date
from records
where landing_error is null
