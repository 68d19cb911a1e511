-- Every event of a first step is an entry of exactly one attempt.
with attempts as (
    select funnel_id, entry_date, cast(sum(entries) as bigint) as entries
    from {{ ref('fct_funnel_attempts') }}
    group by funnel_id, entry_date
),

first_steps as (
    select funnel_id, event_date, cast(count(*) as bigint) as entries
    from {{ ref('int_funnel_step_events') }}
    where kind = 'step' and step = 1
    group by funnel_id, event_date
)

select first_steps.funnel_id, first_steps.event_date
from first_steps
left join attempts
    on attempts.funnel_id = first_steps.funnel_id
    and attempts.entry_date = first_steps.event_date
where first_steps.entries <> coalesce(attempts.entries, 0)
