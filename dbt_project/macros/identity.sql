{#- A text that differs where any of `columns` differs, nulls included, hashed: each value is led by its length. -#}
{% macro hash_of(columns) -%}
  md5({% for column in columns %}coalesce(cast(length(cast({{ column }} as varchar(1024))) as varchar(20)) || ':' || cast({{ column }} as varchar(1024)), '-'){{ ' || ' if not loop.last }}{% endfor %})
{%- endmacro %}

{#- CTEs that end in `first_ties` (anonymous_id, occurred_us, user_id): for each time in `anonymous` the first user that
    the id was tied to at that time or within stitch_days after it. `anonymous` and `ties` are CTEs; ties have a user_id.
    The running minimum goes backwards in time, with a tie before an anonymous event of the same moment. -#}
{% macro first_ties(anonymous, ties) -%}
distinct_ties as (
    select anonymous_id, occurred_us, min(user_id) as user_id
    from {{ ties }}
    group by anonymous_id, occurred_us
),

identity_timeline as (
    select distinct anonymous_id, occurred_us, 0 as is_tie from {{ anonymous }}
    union all
    select anonymous_id, occurred_us, 1 as is_tie from distinct_ties
),

next_ties as (
    select
        anonymous_id,
        occurred_us,
        is_tie,
        min(case when is_tie = 1 then occurred_us end) over (
            partition by anonymous_id
            order by occurred_us desc, is_tie desc
            rows between unbounded preceding and current row
        ) as tied_us
    from identity_timeline
),

first_ties as (
    select next_ties.anonymous_id, next_ties.occurred_us, distinct_ties.user_id
    from next_ties
    inner join distinct_ties
        on distinct_ties.anonymous_id = next_ties.anonymous_id
        and distinct_ties.occurred_us = next_ties.tied_us
    where next_ties.is_tie = 0
        and next_ties.tied_us - next_ties.occurred_us <= {{ var('stitch_days') | int * day_us() }}
)
{%- endmacro %}

{#- The visitor of an event: its own user, else the user that its anonymous_id was tied to, else the anonymous_id. -#}
{% macro visitor(event, tie) -%}
case
    when {{ event }}.user_id is not null then cast('user:' || {{ event }}.user_id as varchar(140))
    when {{ tie }}.user_id is not null then cast('user:' || {{ tie }}.user_id as varchar(140))
    when {{ event }}.anonymous_id is not null then cast('anonymous:' || {{ event }}.anonymous_id as varchar(140))
end
{%- endmacro %}

{#- Hook: the re-keyed dates are touched by a load of their own, so that they stay stale until somebody builds them. -#}
{% macro touch_rekeyed_dates() -%}
  {%- if execute and var('dates', none) is not none -%}
  update {{ source('headrace', 'load_lock') }} set loads = loads + 1
  where exists (select 1 from {{ this }});
  delete from {{ source('headrace', 'touched') }}
  where table_name = 'rekeyed' and event_date in (select event_date from {{ this }});
  insert into {{ source('headrace', 'touched') }} (table_name, event_date, load_seq)
  select 'rekeyed', rekeyed.event_date, load_lock.loads
  from {{ this }} as rekeyed cross join {{ source('headrace', 'load_lock') }} as load_lock;
  {%- endif -%}
{%- endmacro %}
