-- Steps count from 1 without a gap, no type is two steps of a funnel, and windows and steps are within the bounds that
-- the dates to build rest on.
with steps as (
    select
        funnel_id,
        min(step) as first_step,
        max(step) as last_step,
        count(*) as steps,
        count(distinct step) as distinct_steps,
        count(distinct event_type) as event_types
    from {{ ref('funnel_steps') }}
    where kind = 'step'
    group by funnel_id
)

select funnels.funnel_id
from {{ ref('funnels') }} as funnels
left join steps on steps.funnel_id = funnels.funnel_id
where steps.funnel_id is null
    or steps.first_step <> 1
    or steps.last_step <> steps.steps
    or steps.distinct_steps <> steps.steps
    or steps.event_types <> steps.steps
    or steps.last_step not between 2 and {{ var('funnel_max_steps') }}
    or funnels.window_seconds not between 1 and {{ var('funnel_max_window_days') | int * 86400 }}
