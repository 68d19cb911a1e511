{#- Which dates a model builds. The caller names the event dates that raw records touched, in the var `dates`; a model
    widens them by its reach. Without the var, or where the table does not exist yet, everything is built. -#}

{#- How many days before and after its own date a partition depends on raw records. The day that stg_events has on
    either side (copies of an event may lie on two dates) is part of each other one. -#}
{% macro reaches() %}
  {%- set copies = 1 -%}
  {%- set session_days = var('session_max_days') | int -%}
  {%- set chain = session_days + 1 -%}
  {%- set window = var('funnel_max_window_days') | int -%}
  {%- set reaches = {
    'events': {'before': copies, 'after': copies},
    'session_events': {'before': chain + copies, 'after': copies},
    'sessions': {'before': 1 + copies, 'after': session_days + copies},
    'attempts': {'before': chain + copies, 'after': window + copies},
    'cart_lines': {'before': chain + copies, 'after': (var('cart_days') | int) + copies},
    'kpis': {'before': chain + copies, 'after': session_days + copies},
    'orders': {'before': (var('touch_days') | int) + chain + copies, 'after': copies},
  } -%}
  {{ return(reaches) }}
{% endmacro %}

{#- The dates that the caller named, as day numbers. -#}
{% macro days_of_dates() %}
  {%- set days = [] -%}
  {%- for date in var('dates') -%}
    {%- do days.append(modules.datetime.date.fromisoformat(date | string).toordinal()) -%}
  {%- endfor -%}
  {{ return(days) }}
{% endmacro %}

{#- The touched dates as day numbers; none where everything is built. -#}
{% macro touched_days() %}
  {%- if not execute or var('dates', none) is none or not (var('compile_as_incremental', false) or is_incremental()) -%}
    {{ return(none) }}
  {%- endif -%}
  {{ return(days_of_dates()) }}
{% endmacro %}

{#- `days`, each from `back` days before it to `ahead` days after it. -#}
{% macro widened(days, back, ahead) %}
  {%- set found = {} -%}
  {%- for day in days -%}
    {%- for shift in range(-back, ahead + 1) -%}
      {%- do found.update({day + shift: 1}) -%}
    {%- endfor -%}
  {%- endfor -%}
  {{ return(found.keys() | sort) }}
{% endmacro %}

{#- A condition: `column` lies in one of `days`; one range per run of days. -#}
{% macro in_days(column, days) %}
  {%- set ranges = [] -%}
  {%- for day in days -%}
    {%- if ranges and ranges[-1][1] == day - 1 -%}
      {%- set last = ranges.pop() -%}
      {%- do ranges.append([last[0], day]) -%}
    {%- else -%}
      {%- do ranges.append([day, day]) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- set conditions = [] -%}
  {%- for first, last in ranges -%}
    {%- do conditions.append(column ~ " between " ~ date_literal(first) ~ " and " ~ date_literal(last)) -%}
  {%- endfor -%}
  {{ return('(' ~ (conditions | join(' or ') or '1 = 0') ~ ')') }}
{% endmacro %}

{% macro date_literal(day) -%}
  {{ return("cast('" ~ modules.datetime.date.fromordinal(day).isoformat() ~ "' as date)") }}
{%- endmacro %}

{#- The days of this model's partitions that it builds; none where it builds all. -#}
{% macro built_days() %}
  {%- set touched = touched_days() -%}
  {%- if touched is none -%}{{ return(none) }}{%- endif -%}
  {%- set reach = reaches()[config.get('meta')['reach']] -%}
  {{ return(widened(touched, reach['after'], reach['before'])) }}
{% endmacro %}

{#- A condition: `column`, a date of an input, is one that the built partitions read, from `before` days before them
    to `after` days after. -#}
{% macro in_built_dates(column, before=0, after=0) %}
  {%- set days = built_days() -%}
  {{ return('1 = 1' if days is none else in_days(column, widened(days, before, after))) }}
{% endmacro %}

{#- The same of a time, as one range from the first of these dates to the last: raw tables lie in the order of time, and
    a warehouse skips what a plain comparison excludes, but not what the date of a time does. -#}
{% macro in_built_times(column, before=0, after=0) %}
  {%- set days = built_days() -%}
  {{ return('1 = 1' if not days else in_times(column, widened(days, before, after))) }}
{% endmacro %}

{% macro in_times(column, days) %}
  {{ return(column ~ ' >= ' ~ date_literal(days[0]) ~ ' and ' ~ column ~ ' < ' ~ date_literal(days[-1] + 1)) }}
{% endmacro %}

{#- For int_rekeyed_dates: whether only some dates are built and there are stored events to compare with; and the days
    of the events whose ties may have changed, which are those that the stitched events build in the same run. -#}
{% macro built_some_dates(stitched) %}
  {%- if var('dates', none) is none or not execute -%}{{ return(false) }}{%- endif -%}
  {%- if var('compile_as_incremental', false) -%}{{ return(true) }}{%- endif -%}
  {{ return(load_cached_relation(stitched) is not none) }}
{% endmacro %}

{% macro named_days() %}
  {%- set reach = reaches()['events'] -%}
  {{ return(widened(days_of_dates(), reach['after'], reach['before'])) }}
{% endmacro %}
