{#- Hook: a funnel with a window beyond funnel_max_window_days would miss steps where only some dates are built. It fails
    here, before any model has read it. -#}
{% macro refuse_long_windows() -%}
  {%- if execute -%}
    {%- set days = var('funnel_max_window_days') | int -%}
    {%- set beyond = run_query('select funnel_id, window_seconds from ' ~ this ~ ' where window_seconds > ' ~ days * 86400) -%}
    {%- for row in beyond.rows -%}
      {%- do exceptions.raise_compiler_error(
          'funnel ' ~ row[0] ~ ' has a window of ' ~ row[1] ~ ' seconds, and funnel_max_window_days is ' ~ days
          ~ ': shorten the window, or raise funnel_max_window_days in dbt_project.yml'
      ) -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro %}
