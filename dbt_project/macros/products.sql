{#- The products of the records of a raw table that fit, one row per product of a list, with where the log held the record. -#}
{% macro unnested_products(raw) %}{{ return(adapter.dispatch('unnested_products')(raw)) }}{% endmacro %}

{% macro default__unnested_products(raw) -%}
select
    record.topic_id, record.kafka_partition, record.kafka_offset,
    cast(record.occurred_at as date) as event_date,
    cast(line_index + 1 as integer) as line_number,
    {{ product_columns() }}
from {{ raw }} as record, record.products as product at line_index
where record.landing_error is null
{%- endmacro %}

{% macro duckdb__unnested_products(raw) -%}
select
    topic_id, kafka_partition, kafka_offset, event_date,
    cast(line_number as integer) as line_number,
    {{ product_columns() }}
from (
    select
        topic_id, kafka_partition, kafka_offset,
        cast(occurred_at as date) as event_date,
        unnest(products) as product,
        generate_subscripts(products, 1) as line_number
    from {{ raw }}
    where landing_error is null
) as lines
{%- endmacro %}

{% macro product_columns() -%}
cast(product.product_id as varchar(128)) as product_id,
    cast(product.category as varchar(256)) as category,
    cast(product.brand as varchar(128)) as brand,
    cast(product.price as decimal(18, 4)) as price,
    cast(product.currency as varchar(3)) as currency,
    cast(product.quantity as bigint) as quantity
{%- endmacro %}
