-- The events of one type as the lake has them, and which of them count (DESIGN, section 4). Copies of an event agree in
-- source, event_id, event_type, visitor and device_occurred_at; a copy does not count where another that was received
-- before it lies on its event date or on a neighbouring one.
--
-- Whoever writes a view may have read less of the log than the lake holds: `counts_so_far` is what counts of that part.
with records as (
    select * from shape  -- no rows: the columns that a type may lack
    union all by name
    select * from read_parquet(getvariable('files'), union_by_name = true, hive_partitioning = false)
),

fitting as (
    select
        *,
        case
            when user_id <> '' then 'user:' || user_id
            when anonymous_id <> '' then 'anonymous:' || anonymous_id
        end as visitor,
        cast(occurred_at at time zone 'UTC' as date) as event_date,
        strftime(occurred_at at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') as occurred_text,
        concat_ws(
            '.',
            lpad(cast(epoch_us(received_at) + 62135596800000000 as varchar), 18, '0'),
            lpad(cast(kafka_partition as varchar), 10, '0'),
            lpad(cast(kafka_offset as varchar), 19, '0'),
            topic_id
        ) as place
    from records
    where landing_error is null
        and occurred_at >= cast(getvariable('since') - interval 1 day as timestamp) at time zone 'UTC'
),

reached as (
    select fitting.*, reach.topic_id is null or fitting.kafka_offset < reach.passed as is_passed
    from fitting
    left join reach on reach.topic_id = fitting.topic_id and reach.kafka_partition = fitting.kafka_partition
    where not getvariable('of_wanted') or fitting.visitor in (select key from wanted)
),

compared as (
    select
        reached.*,
        min(place) over copies_nearby as earliest,
        min(place) filter (where is_passed) over copies_nearby as earliest_so_far,
        max(kafka_timestamp) over copies_nearby as last_appended
    from reached
    window copies_nearby as (
        partition by source, event_id, event_type, user_id, anonymous_id, device_occurred_at
        order by date_diff('day', date '1970-01-01', event_date)
        range between 1 preceding and 1 following
    )
)

select
    compared.*,
    place = earliest as counts,
    is_passed and place = earliest_so_far as counts_so_far
from compared
where event_date >= getvariable('since')
