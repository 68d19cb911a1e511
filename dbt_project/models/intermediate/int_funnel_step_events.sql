-- Events that are a step of a funnel or excluded from one, under the entity whose attempts they belong to.
with definitions as (
    select
        definitions.funnel_id, definitions.definition_hash, definitions.scope, definitions.window_us,
        definitions.is_strict, steps.kind, steps.step, coalesce(steps.to_step, 99) as to_step, steps.event_type
    from {{ ref('int_funnel_definitions') }} as definitions
    inner join {{ ref('funnel_steps') }} as steps on steps.funnel_id = definitions.funnel_id
),

events as (
    select * from {{ ref('fct_events') }} where visitor_id is not null
),

listed_products as (
    select distinct event_key, event_date, product_id
    from {{ ref('int_event_products') }}
    where product_id is not null
),

of_products as (  -- an event that lists products is a step of each of them
    select events.*, coalesce(events.product_id, listed_products.product_id) as entity_product_id
    from events
    left join listed_products
        on listed_products.event_key = events.event_key
        and listed_products.event_date = events.event_date
),

scoped as (
    select
        definitions.*, events.visitor_id, events.event_date, events.occurred_us, events.event_key,
        case when definitions.scope = 'session' then events.session_id else events.visitor_id end as entity_key
    from events
    inner join definitions on definitions.event_type = events.event_type
    where definitions.scope in ('visitor', 'session')
    union all
    select
        definitions.*, of_products.visitor_id, of_products.event_date, of_products.occurred_us, of_products.event_key,
        of_products.visitor_id || '|' || of_products.entity_product_id as entity_key
    from of_products
    inner join definitions on definitions.event_type = of_products.event_type
    where definitions.scope = 'visitor_product'
)

select
    funnel_id, definition_hash,
    cast(entity_key as varchar(280)) as entity_key,
    visitor_id, event_date, occurred_us, event_key,
    cast(kind as varchar(16)) as kind,
    cast(step as integer) as step,
    cast(to_step as integer) as to_step,
    window_us, is_strict
from scoped
where entity_key is not null
