-- What became of the cart lines of a date. A line that is not decided yet counts as abandoned: ask for dates that are
-- more than cart_days old.
{{ config(
    incremental_strategy='replace_partitions', meta={'partition': 'added_date', 'reach': 'cart_lines'},
    sort=['added_date']
) }}
with lines as (
    select * from {{ ref('fct_cart_lines') }} where {{ in_built_dates('added_date') }}
)

select
    added_date, source, device_type, currency,
    cast(count(distinct visitor_id) as bigint) as visitors,
    cast(count(*) as bigint) as lines_added,
    {%- for outcome in ['ordered', 'removed', 'abandoned', 'recovered'] %}
    cast(sum(case when outcome = '{{ outcome }}' then 1 else 0 end) as bigint) as lines_{{ outcome }},
    {%- endfor %}
    cast(sum(case when outcome = 'abandoned' then line_value end) as decimal(28, 4)) as abandoned_value,
    cast(sum(case when outcome = 'recovered' then line_value end) as decimal(28, 4)) as recovered_value
from lines
group by added_date, source, device_type, currency
