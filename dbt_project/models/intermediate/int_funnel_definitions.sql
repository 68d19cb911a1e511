-- The funnels with a hash of what they mean, which each row of an attempt carries.
with funnels as (
    select * from {{ ref('funnels') }}
),

steps as (
    select
        funnel_id,
        kind || ',' || cast(step as varchar(8)) || ',' || coalesce(cast(to_step as varchar(8)), '') || ',' || step_name
            || ',' || event_type as definition
    from {{ ref('funnel_steps') }}
),

listed as (
    select funnel_id, {{ dbt.listagg('definition', "';'", 'order by definition') }} as definition
    from steps
    group by funnel_id
)

select
    cast(funnels.funnel_id as varchar(64)) as funnel_id,
    cast(funnels.scope as varchar(32)) as scope,
    cast(funnels.window_seconds as bigint) * cast(1000000 as bigint) as window_us,
    funnels.strict as is_strict,
    cast(md5(
        funnels.scope || ';' || cast(funnels.window_seconds as varchar(20)) || ';'
        || case when funnels.strict then 'strict' else 'ties count' end || ';' || listed.definition
    ) as varchar(32)) as definition_hash
from funnels
inner join listed on listed.funnel_id = funnels.funnel_id
