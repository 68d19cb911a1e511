-- Products added to a cart, and what became of them within cart_days: the first removal or order of the product by the
-- visitor decides. An order that lists no products orders whatever is in the cart.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'added_date', 'reach': 'cart_lines'},
    dist='visitor_id', sort=['added_date']
) }}
{%- set cart_days = var('cart_days') | int %}
{%- set abandon_us = (var('abandon_hours') | int) * 3600 * 1000000 %}
with events as (
    select * from {{ ref('fct_events') }}
    where visitor_id is not null
        and event_type in ('product_added', 'product_removed', 'order_completed')
        and {{ in_built_dates('event_date', after=cart_days) }}
),

added as (
    select * from events
    where event_type = 'product_added' and product_id is not null and {{ in_built_dates('event_date') }}
),

listed as (
    select distinct event_key, product_id
    from {{ ref('int_event_products') }}
    where event_type = 'order_completed' and {{ in_built_dates('event_date', after=cart_days) }}
),

ordered as (  -- of the products that it lists, or of every product that the visitor added
    select events.visitor_id, listed.product_id, events.occurred_us
    from events
    inner join listed on listed.event_key = events.event_key
    where events.event_type = 'order_completed' and listed.product_id is not null
    union
    select events.visitor_id, carts.product_id, events.occurred_us
    from events
    left join listed on listed.event_key = events.event_key
    inner join (select distinct visitor_id, product_id from added) as carts on carts.visitor_id = events.visitor_id
    where events.event_type = 'order_completed' and listed.event_key is null
),

timeline as (
    select distinct visitor_id, product_id, occurred_us, 'added' as role, 0 as tie_order from added
    union all
    select visitor_id, product_id, occurred_us, 'ordered' as role, 1 as tie_order from ordered
    union all
    select distinct visitor_id, product_id, occurred_us, 'removed' as role, 1 as tie_order
    from events
    where event_type = 'product_removed' and product_id is not null
),

sighted as (
    select
        visitor_id, product_id, occurred_us, role,
        min(case when role = 'ordered' then occurred_us end) over (
            partition by visitor_id, product_id
            order by occurred_us desc, tie_order desc
            rows between unbounded preceding and current row
        ) as ordered_us,
        min(case when role = 'removed' then occurred_us end) over (
            partition by visitor_id, product_id
            order by occurred_us desc, tie_order desc
            rows between unbounded preceding and current row
        ) as removed_us
    from timeline
),

decided as (
    select
        visitor_id,
        product_id,
        occurred_us,
        case
            when ordered_us - occurred_us <= {{ cart_days * day_us() }} and (removed_us is null or ordered_us <= removed_us)
                then ordered_us
        end as ordered_us,
        case
            when removed_us - occurred_us <= {{ cart_days * day_us() }} and (ordered_us is null or removed_us < ordered_us)
                then removed_us
        end as removed_us
    from sighted
    where role = 'added'
)

select
    added.event_key, added.event_date as added_date, added.occurred_at as added_at, added.visitor_id, added.session_id,
    added.product_id, added.category, added.source, added.device_type, added.currency,
    coalesce(added.quantity, 1) as quantity,
    cast(added.price * coalesce(added.quantity, 1) as decimal(28, 4)) as line_value,
    case when decided.removed_us is not null then {{ from_us('decided.removed_us') }} end as removed_at,
    case when decided.ordered_us is not null then {{ from_us('decided.ordered_us') }} end as ordered_at,
    cast(case
        when decided.removed_us is not null then 'removed'
        when decided.ordered_us - decided.occurred_us <= {{ abandon_us }} then 'ordered'
        when decided.ordered_us is not null then 'recovered'
        else 'abandoned'
    end as varchar(16)) as outcome,
    {{ from_us('added.occurred_us + ' ~ cart_days * day_us()) }} as decided_at,
    case when decided.ordered_us is not null then {{ seconds_between('decided.occurred_us', 'decided.ordered_us') }} end
        as seconds_to_order
from added
inner join decided
    on decided.visitor_id = added.visitor_id
    and decided.product_id = added.product_id
    and decided.occurred_us = added.occurred_us
