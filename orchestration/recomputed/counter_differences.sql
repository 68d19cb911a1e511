-- Where the counters and the lake disagree. A product and date waits while something of it was appended lately, or its
-- date (or one beside it, where a copy may be) is not built; everything does where nothing is known to be settled.
with stirred as (
    select distinct concat(product_id, '/', strftime(event_date, '%Y-%m-%d')) as key
    from happenings
    where is_stirred
),

beside as (
    select
        coalesce(owed.key, held.key) as key,
        coalesce(owed.sort, held.sort) as sort,
        owed.said as lake_says,
        held.said as view_says
    from owed
    full outer join held on held.key = owed.key and held.sort = owed.sort
),

dated as (
    select beside.*, try_cast(regexp_extract(beside.key, '[^/]*$') as date) as event_date from beside
)

select
    dated.key,
    dated.sort,
    dated.lake_says,
    dated.view_says,
    dated.lake_says is distinct from dated.view_says
        and getvariable('settled_until') is not null
        and stirred.key is null
        and not exists (
            select 1 from unbuilt
            where unbuilt.event_date between dated.event_date - interval 1 day and dated.event_date + interval 1 day
        ) as is_different
from dated
left join stirred on stirred.key = dated.key
