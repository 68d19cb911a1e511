-- One row per attempt: a funnel, an entity, a day of entry, and the entries of that day that lead to the same next step.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'entry_date', 'reach': 'attempts'},
    dist='visitor_id', sort=['entry_date', 'funnel_id']
) }}
{%- set k_max = var('funnel_max_steps') | int %}
with step_events as (
    select * from {{ ref('int_funnel_step_events') }}
    where {{ in_built_dates('event_date', after=var('funnel_max_window_days') | int) }}
),

entries as (
    select * from step_events where kind = 'step' and step = 1 and {{ in_built_dates('event_date') }}
),

later_steps as (
    select * from step_events where kind <> 'step' or step > 1
),

{{ funnel_attempts('entries', 'later_steps') }},

reached as (
    select
        attempts.*,
        case
            {%- for k in range(k_max, 1, -1) %}
            when level = {{ k }} then step_{{ k }}_event_key
            {%- endfor %}
            else step_1_event_key
        end as last_event_key,
        case
            {%- for k in range(k_max, 1, -1) %}
            when level = {{ k }} then step_{{ k }}_us
            {%- endfor %}
            else entry_us
        end as last_us
    from attempts
),

last_steps as (
    select funnel_id, max(step) as steps from {{ ref('funnel_steps') }} where kind = 'step' group by funnel_id
),

touches as (
    select event_key, source, device_type, category, product_id from {{ ref('fct_events') }}
    where {{ in_built_dates('event_date', after=var('funnel_max_window_days') | int) }}
)

select
    cast(md5(reached.funnel_id || '|' || reached.entity_key || '|' || cast(reached.entry_us as varchar(20)))
        as varchar(32)) as attempt_key,
    reached.funnel_id, reached.definition_hash, reached.entity_key, reached.visitor_id,
    cast({{ from_us('reached.entry_us') }} as date) as entry_date,
    {{ from_us('reached.entry_us') }} as entry_at,
    {{ from_us('reached.first_entry_us') }} as first_entry_at,
    reached.entries,
    reached.level,
    reached.level = last_steps.steps as is_converted,
    case when reached.level = last_steps.steps then {{ seconds_between('reached.entry_us', 'reached.last_us') }} end
        as seconds_to_convert,
    case
        {%- for k in range(1, k_max) %}
        when reached.level = {{ k }} and reached.excluded_{{ k }}_us <= reached.deadline_us then {{ k }}
        {%- endfor %}
    end as excluded_after_step,
    {{ from_us('reached.deadline_us') }} as window_ends_at,
    reached.step_1_event_key
    {%- for k in range(2, k_max + 1) %},
    case when reached.level >= {{ k }} then {{ from_us('reached.step_' ~ k ~ '_us') }} end as step_{{ k }}_at,
    case when reached.level >= {{ k }} then reached.step_{{ k }}_event_key end as step_{{ k }}_event_key
    {%- endfor %},
    first_touch.source as first_source,
    first_touch.device_type as first_device_type,
    first_touch.category as first_category,
    first_touch.product_id as first_product_id,
    last_touch.source as last_source,
    last_touch.device_type as last_device_type,
    last_touch.category as last_category,
    last_touch.product_id as last_product_id
from reached
inner join last_steps on last_steps.funnel_id = reached.funnel_id
inner join touches as first_touch on first_touch.event_key = reached.step_1_event_key
inner join touches as last_touch on last_touch.event_key = reached.last_event_key
