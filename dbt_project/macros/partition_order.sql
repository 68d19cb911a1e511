{#- DuckDB stores a table in the order in which it was inserted, and skips what lies outside the dates of a filter only
    where dates lie together: so a table that is built as a whole is sorted by its partition. Redshift has its sort keys. -#}
{% macro duckdb__get_select_subquery(sql) -%}
  {%- set partition = config.get('meta', {}).get('partition') %}
    select {{ adapter.dispatch('get_column_names', 'dbt')() }}
    from (
        {{ sql }}
    ) as model_subq
    {% if partition %}order by {{ partition }}{% endif %}
{%- endmacro %}
