-- raw = events + duplicates + unfit, per type. Holds when nothing is stale.
{{ config(tags=['when_drained']) }}
with raw_records as (
    {%- for event_type in event_types() %}
    select cast('{{ event_type }}' as varchar(64)) as event_type, cast(count(*) as bigint) as records
    from {{ source('raw', event_type) }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
),

known as (
    select event_type, cast(sum(records) as bigint) as records
    from (
        select event_type, cast(sum(events + duplicates) as bigint) as records
        from {{ ref('agg_event_copies_daily') }}
        group by event_type
        union all
        select event_type, cast(count(*) as bigint) as records
        from {{ ref('stg_unfit_records') }}
        group by event_type
    ) as parts
    group by event_type
)

select raw_records.event_type, raw_records.records, known.records as known_records
from raw_records
left join known on known.event_type = raw_records.event_type
where raw_records.records <> coalesce(known.records, 0)
