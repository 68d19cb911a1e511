-- Where a view of facts and the lake disagree. A row is no difference while one of them is ahead of the other: the lake
-- may not have landed what the view shows (nor know that a copy which the view shows came first), and the view's
-- writers may not have read what the lake has.
with placed as (
    select
        key, sort, said,
        split_part(sort, chr(31), 2) as event_id,
        regexp_extract(sort, '\d+\.(\d+)\.(\d+)\.([^' || chr(31) || ']*)$', ['kafka_partition', 'kafka_offset', 'topic_id'])
            as place
    from held
),

shown as (
    select
        placed.key, placed.sort, placed.said, placed.event_id,
        coalesce(cast(nullif(place.kafka_offset, '') as bigint) between reach.landed and ends.ended - 1, false)
            as is_ahead
    from placed
    left join reach
        on reach.topic_id = placed.place.topic_id
            and reach.kafka_partition = cast(nullif(placed.place.kafka_partition, '') as integer)
    left join ends on ends.topic_id = reach.topic_id and ends.kafka_partition = reach.kafka_partition
),

copies_ahead as (
    select distinct key, event_id from shown where is_ahead
)

select
    coalesce(owed.key, shown.key) as key,
    coalesce(owed.sort, shown.sort) as sort,
    owed.said as lake_says,
    shown.said as view_says,
    case
        when shown.key is null then owed.is_due and copies_ahead.key is null
        when owed.key is null then not shown.is_ahead
        else owed.said <> shown.said
    end as is_different
from owed
full outer join shown on shown.key = owed.key and shown.sort = owed.sort
left join copies_ahead on copies_ahead.key = owed.key and copies_ahead.event_id = owed.event_id
