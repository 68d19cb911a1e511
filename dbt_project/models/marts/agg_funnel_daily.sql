-- Conversion per funnel, day of entry and step: of all, and by the source, device and category of the entry. Visitors are
-- distinct within a row; they do not add up over days.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'entry_date', 'reach': 'attempts'}, sort=['entry_date']
) }}
with attempts as (
    select * from {{ ref('fct_funnel_attempts') }} where {{ in_built_dates('entry_date') }}
),

broken_down as (
    {%- for name, column in {
        'all': "'all'", 'source': 'first_source', 'device_type': 'first_device_type', 'category': 'first_category',
    }.items() %}
    select
        funnel_id, definition_hash, entry_date, visitor_id, level,
        cast('{{ name }}' as varchar(32)) as breakdown,
        cast(coalesce({{ column }}, '(none)') as varchar(256)) as breakdown_value
    from attempts
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
),

counted as (
    select
        broken_down.funnel_id, broken_down.definition_hash, broken_down.entry_date, broken_down.breakdown,
        broken_down.breakdown_value, steps.step, steps.step_name,
        cast(count(distinct case when broken_down.level >= steps.step then broken_down.visitor_id end) as bigint)
            as visitors,
        cast(sum(case when broken_down.level >= steps.step then 1 else 0 end) as bigint) as attempts
    from broken_down
    inner join {{ ref('funnel_steps') }} as steps
        on steps.funnel_id = broken_down.funnel_id and steps.kind = 'step'
    group by
        broken_down.funnel_id, broken_down.definition_hash, broken_down.entry_date, broken_down.breakdown,
        broken_down.breakdown_value, steps.step, steps.step_name
),

compared as (
    select
        counted.*,
        max(case when step = 1 then visitors end) over (
            partition by funnel_id, definition_hash, entry_date, breakdown, breakdown_value
        ) as entered,
        lag(visitors) over (
            partition by funnel_id, definition_hash, entry_date, breakdown, breakdown_value order by step
        ) as previous_visitors
    from counted
)

select
    funnel_id, definition_hash, entry_date, breakdown, breakdown_value, step, step_name, visitors, attempts,
    cast(coalesce(previous_visitors - visitors, 0) as bigint) as visitors_dropped,
    cast(cast(visitors as decimal(18, 6)) / nullif(cast(previous_visitors as decimal(18, 6)), 0) as decimal(9, 6))
        as conversion_from_previous,
    cast(cast(visitors as decimal(18, 6)) / nullif(cast(entered as decimal(18, 6)), 0) as decimal(9, 6))
        as conversion_from_entry
from compared
