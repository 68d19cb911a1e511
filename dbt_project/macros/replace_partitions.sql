{#- Incremental strategy: the dates to build of the target become exactly what the query returned for them; where the
    caller names no dates, the whole table does. Delete and insert are filtered by the same dates, so a query that
    returns too much doubles nothing and a date without rows is emptied. Both run in the transaction that dbt opened:
    a failed insert leaves the table as it was. -#}
{% macro get_incremental_replace_partitions_sql(arg_dict) %}
  {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
  {%- set column = config.get('meta')['partition'] -%}
  delete from {{ arg_dict['target_relation'] }} where {{ in_built_dates(column) }};
  insert into {{ arg_dict['target_relation'] }} ({{ columns }})
  select {{ columns }} from {{ arg_dict['temp_relation'] }} where {{ in_built_dates(column) }};
{% endmacro %}
