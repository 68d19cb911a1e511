-- Some of the products and dates whose events of late dates are in `files`; another salt, others.
with products as (
    select distinct concat(product_id, '/', strftime(occurred_at at time zone 'UTC', '%Y-%m-%d')) as product_and_date
    from read_parquet($files, union_by_name = true, hive_partitioning = false)
    where landing_error is null
        and product_id is not null
        and occurred_at >= cast($since as timestamp) at time zone 'UTC'
)

select product_and_date
from products
order by md5(product_and_date || $salt)
limit $most
