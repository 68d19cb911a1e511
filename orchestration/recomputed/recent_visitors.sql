-- Some of the visitors whose events of late dates are in `files`; another salt, others.
with visitors as (
    select distinct
        case
            when user_id <> '' then 'user:' || user_id
            when anonymous_id <> '' then 'anonymous:' || anonymous_id
        end as visitor
    from read_parquet($files, union_by_name = true, hive_partitioning = false)
    where landing_error is null and occurred_at >= cast($since as timestamp) at time zone 'UTC'
)

select visitor
from visitors
where visitor is not null
order by md5(visitor || $salt)
limit $most
