-- What the stand-in remembers, and what clients read of it.
create schema redshift;
grant usage on schema redshift to public;
alter default privileges in schema redshift grant select, insert, update, delete on tables to public;

create table redshift.load_errors (
    start_time timestamp not null default (now() at time zone 'UTC'),
    table_name varchar not null,
    file_name varchar not null,
    column_name varchar not null,
    reason varchar not null
);
create view redshift.sys_load_error_detail as
select
    start_time, current_database()::varchar as database_name, table_name, file_name, column_name,
    reason as error_message
from redshift.load_errors;

create table redshift.designs (
    table_id oid primary key, dist_style text, dist_key text, sort_keys text[] not null, sort_style text not null
);
create function redshift.keep_design(relation text, style text, key text, keys text[], sort_style text) returns void
language plpgsql
as $$
declare
    id oid := to_regclass(relation);
    name text;
begin
    foreach name in array keys || array_remove(array[key], null) loop
        if not exists (select from pg_attribute where attrelid = id and attname = name and attnum > 0) then
            raise exception 'column "%" named in DISTKEY or SORTKEY does not exist', name using errcode = '42703';
        end if;
        if exists (
            select from pg_attribute where attrelid = id and attname = name and atttypid = cast('super' as regtype)
        ) then
            raise exception 'SUPER column "%" cannot be a DISTKEY or SORTKEY', name using errcode = '0A000';
        end if;
    end loop;
    if cardinality(keys) > (case sort_style when 'interleaved' then 8 else 400 end) then
        raise exception 'too many columns in the sort key' using errcode = '54011';
    end if;
    insert into redshift.designs values (id, style, key, keys, sort_style)
    on conflict (table_id) do nothing;
end
$$;
