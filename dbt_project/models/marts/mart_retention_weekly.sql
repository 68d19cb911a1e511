-- How many visitors of a week come back in later ones. A view: a cohort hangs on a visitor's first event ever, and nothing
-- that is stored may hang on unbounded history.
{{ config(materialized='view') }}
with active_weeks as (
    select distinct visitor_id, cast({{ dbt.date_trunc('week', 'event_date') }} as date) as active_week
    from {{ ref('fct_events') }}
    where visitor_id is not null
),

cohorts as (
    select visitor_id, min(active_week) as cohort_week from active_weeks group by visitor_id
),

sizes as (
    select cohort_week, cast(count(*) as bigint) as cohort_visitors from cohorts group by cohort_week
),

activity as (
    select
        cohorts.cohort_week,
        cast({{ dbt.datediff('cohorts.cohort_week', 'active_weeks.active_week', 'day') }} as bigint) as days,
        cast(count(*) as bigint) as active_visitors
    from active_weeks
    inner join cohorts on cohorts.visitor_id = active_weeks.visitor_id
    group by cohorts.cohort_week, active_weeks.active_week
)

select
    activity.cohort_week,
    cast(cast(activity.days as decimal(18, 4)) / cast(7 as decimal(18, 4)) as bigint) as week,
    sizes.cohort_visitors,
    activity.active_visitors,
    cast(cast(activity.active_visitors as decimal(18, 6)) / cast(sizes.cohort_visitors as decimal(18, 6))
        as decimal(9, 6)) as retention
from activity
inner join sizes on sizes.cohort_week = activity.cohort_week
