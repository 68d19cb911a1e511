-- One row per attempt and step that it reached: time to the step, and where and on which product it stopped.
{{ config(materialized='view') }}
{%- set k_max = var('funnel_max_steps') | int %}
with attempts as (
    select * from {{ ref('fct_funnel_attempts') }}
),

step_times as (
    {%- for k in range(1, k_max + 1) %}
    select
        attempt_key, funnel_id, definition_hash, visitor_id, entry_date, entry_at, level,
        {{ k }} as step,
        {{ 'entry_at' if k == 1 else 'step_' ~ k ~ '_at' }} as step_at,
        {{ 'cast(null as timestamp)' if k == 1 else ('entry_at' if k == 2 else 'step_' ~ (k - 1) ~ '_at') }} as previous_at,
        step_{{ k }}_event_key as event_key
    from attempts
    where level >= {{ k }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
),

steps as (
    select * from {{ ref('funnel_steps') }} where kind = 'step'
),

events as (
    select * from {{ ref('fct_events') }}
)

select
    step_times.attempt_key, step_times.funnel_id, step_times.definition_hash, step_times.visitor_id,
    step_times.entry_date,
    cast(step_times.step as integer) as step,
    steps.step_name,
    step_times.step_at,
    step_times.step = step_times.level as is_last_step,
    {{ seconds_between(to_us('step_times.entry_at'), to_us('step_times.step_at')) }} as seconds_from_entry,
    {{ seconds_between(to_us('step_times.previous_at'), to_us('step_times.step_at')) }} as seconds_from_previous,
    step_times.event_key,
    events.session_id, events.source, events.device_type, events.category, events.product_id
from step_times
inner join steps on steps.funnel_id = step_times.funnel_id and steps.step = step_times.step
inner join events on events.event_key = step_times.event_key
