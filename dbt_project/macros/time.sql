{#- Microseconds since 1970 as a bigint: all arithmetic on times is on these. -#}
{% macro to_us(column) %}{{ return(adapter.dispatch('to_us')(column)) }}{% endmacro %}
{% macro default__to_us(column) -%}
  datediff(microsecond, cast('1970-01-01 00:00:00' as timestamp), {{ column }})
{%- endmacro %}
{% macro duckdb__to_us(column) -%}
  epoch_us({{ column }})
{%- endmacro %}

{#- And back. Redshift's dateadd takes an integer, hence the three parts. -#}
{% macro from_us(us) %}{{ return(adapter.dispatch('from_us')(us)) }}{% endmacro %}
{% macro default__from_us(us) -%}
  dateadd(microsecond, cast(mod({{ us }}, 1000000) as integer),
    dateadd(second, cast((mod({{ us }}, {{ day_us() }}) - mod({{ us }}, 1000000)) / 1000000 as integer),
      dateadd(day, cast(({{ us }} - mod({{ us }}, {{ day_us() }})) / {{ day_us() }} as integer),
        cast('1970-01-01 00:00:00' as timestamp))))
{%- endmacro %}
{% macro duckdb__from_us(us) -%}
  make_timestamp({{ us }})
{%- endmacro %}

{% macro day_us() %}{{ return(86400000000) }}{% endmacro %}

{#- `date` plus a number of days, as a date. -#}
{% macro plus_days(date, days) -%}
  cast({{ dbt.dateadd('day', days, date) }} as date)
{%- endmacro %}

{#- A product and no quotient: exact, and the same on both. -#}
{% macro seconds_between(first_us, last_us) -%}
  cast(cast({{ last_us }} - {{ first_us }} as decimal(18, 0)) * cast(0.000001 as decimal(7, 6)) as decimal(18, 3))
{%- endmacro %}
