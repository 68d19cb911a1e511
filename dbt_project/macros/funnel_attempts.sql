{#- CTEs that end in `attempts`, one row per entity, entry day and next step: every funnel in one statement.

    An attempt is an entry (step 1) with its chain: the earliest step 2 from there, the earliest step 3 from that, and
    so on, as far as they lie within the window. For each pair of neighbouring steps a running minimum that goes
    backwards in time finds the next step ("hop"); equality joins chain the hops. At one moment a row sees those that
    `tie_order` puts before it: the next step where ties count, and nothing where the funnel is strict.

    `steps` and `entries` are CTEs: the steps after the first with the exclusions, and the step-1 events to judge. -#}
{% macro funnel_attempts(entries, steps) -%}
{%- set k_max = var('funnel_max_steps') | int -%}
{%- set entity = ['funnel_id', 'entity_key'] -%}
moments as (
    select
        funnel_id, entity_key, kind, step, to_step, occurred_us, window_us, is_strict,
        min(event_key) as event_key
    from {{ steps }}
    group by funnel_id, entity_key, kind, step, to_step, occurred_us, window_us, is_strict
),

reaches as (
    select funnel_id, entity_key, min(occurred_us) as first_us, max(occurred_us) as last_us
    from moments
    group by funnel_id, entity_key
),

judged_entries as (  -- most entries have nothing in reach: they need no window function
    select
        entries.*,
        coalesce(
            entries.occurred_us <= reaches.last_us
            and entries.occurred_us >= reaches.first_us - entries.window_us,
            false
        ) as is_live
    from {{ entries }} as entries
    left join reaches on reaches.funnel_id = entries.funnel_id and reaches.entity_key = entries.entity_key
),

{% for k in range(1, k_max) -%}
points_{{ k }} as (
    {%- if k == 1 %}
    select funnel_id, entity_key, occurred_us, window_us, event_key, 'here' as role, 2 as tie_order
    from judged_entries
    where is_live
    union all
    {%- else %}
    select funnel_id, entity_key, occurred_us, window_us, event_key, 'here' as role, 2 as tie_order
    from moments
    where kind = 'step' and step = {{ k }}
    union all
    {%- endif %}
    select
        funnel_id, entity_key, occurred_us, window_us, event_key, 'next' as role,
        case when is_strict then 0 else 3 end as tie_order
    from moments
    where kind = 'step' and step = {{ k + 1 }}
    union all
    select funnel_id, entity_key, occurred_us, window_us, event_key, 'excluded' as role, 1 as tie_order
    from moments
    where kind = 'exclude' and step <= {{ k }} and to_step > {{ k }}
),

sight_{{ k }} as (
    select
        points_{{ k }}.*,
        min(case when role = 'next' then occurred_us end) over (
            partition by funnel_id, entity_key
            order by occurred_us desc, tie_order desc
            rows between unbounded preceding and current row
        ) as next_us,
        min(case when role = 'excluded' then occurred_us end) over (
            partition by funnel_id, entity_key
            order by occurred_us desc, tie_order desc
            rows between unbounded preceding and current row
        ) as excluded_us
    from points_{{ k }}
),

hop_{{ k }} as (
    select
        funnel_id, entity_key, occurred_us, event_key, window_us,
        case
            when next_us <= occurred_us + window_us and (excluded_us is null or excluded_us >= next_us) then next_us
        end as next_us,
        case
            when excluded_us <= occurred_us + window_us and (next_us is null or excluded_us < next_us)
                then excluded_us
        end as excluded_us
    from sight_{{ k }}
    where role = 'here'
),

{% endfor -%}
entry_hops as (
    select funnel_id, entity_key, occurred_us, window_us, next_us, excluded_us from hop_1
    union all
    select
        funnel_id, entity_key, occurred_us, window_us,
        cast(null as bigint) as next_us, cast(null as bigint) as excluded_us
    from judged_entries
    where not is_live
),

runs as (
    select
        funnel_id, entity_key, window_us, next_us, excluded_us,
        occurred_us - mod(occurred_us, {{ day_us() }}) as entry_day_us,
        max(occurred_us) as entry_us,
        min(occurred_us) as first_entry_us,
        cast(count(*) as bigint) as entries
    from entry_hops
    group by funnel_id, entity_key, window_us, next_us, excluded_us, occurred_us - mod(occurred_us, {{ day_us() }})
),

entry_events as (
    select funnel_id, entity_key, definition_hash, visitor_id, occurred_us, min(event_key) as event_key
    from {{ entries }}
    group by funnel_id, entity_key, definition_hash, visitor_id, occurred_us
),

last_events as (
    select funnel_id, entity_key, occurred_us, event_key from moments where kind = 'step' and step = {{ k_max }}
),

chained as (
    select
        runs.funnel_id, runs.entity_key, entry_events.definition_hash, entry_events.visitor_id,
        runs.entry_us, runs.first_entry_us, runs.entries,
        runs.entry_us + runs.window_us as deadline_us,
        entry_events.event_key as step_1_event_key,
        runs.next_us as step_2_us,
        runs.excluded_us as excluded_1_us
        {%- for k in range(2, k_max) %},
        hop_{{ k }}.event_key as step_{{ k }}_event_key,
        hop_{{ k }}.next_us as step_{{ k + 1 }}_us,
        hop_{{ k }}.excluded_us as excluded_{{ k }}_us
        {%- endfor %},
        last_events.event_key as step_{{ k_max }}_event_key
    from runs
    inner join entry_events
        on entry_events.funnel_id = runs.funnel_id
        and entry_events.entity_key = runs.entity_key
        and entry_events.occurred_us = runs.entry_us
    {%- for k in range(2, k_max) %}
    left join hop_{{ k }}
        on hop_{{ k }}.funnel_id = runs.funnel_id
        and hop_{{ k }}.entity_key = runs.entity_key
        and hop_{{ k }}.occurred_us = {{ 'runs' if k == 2 else 'hop_' ~ (k - 1) }}.next_us
    {%- endfor %}
    left join last_events
        on last_events.funnel_id = runs.funnel_id
        and last_events.entity_key = runs.entity_key
        and last_events.occurred_us = {{ 'runs' if k_max == 2 else 'hop_' ~ (k_max - 1) }}.next_us
),

attempts as (
    select
        chained.*,
        cast(
            1{% for k in range(2, k_max + 1) %} + case when step_{{ k }}_us <= deadline_us then 1 else 0 end{% endfor %}
            as integer
        ) as level
    from chained
)
{%- endmacro %}
