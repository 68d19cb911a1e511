-- What the stand-in remembers, and what clients read of it.
create schema redshift;
grant usage, create on schema redshift to public;
alter default privileges in schema redshift grant select, insert, update, delete on tables to public;

create table redshift.load_errors (
    start_time timestamp not null default (now() at time zone 'UTC'),
    session_id integer not null,
    table_name varchar not null,
    file_name varchar not null,
    column_name varchar not null,
    reason varchar not null
);
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

create table redshift.late_binding_views (view_id oid primary key);
-- The view calls a function with dynamic SQL, so it depends on no table and outlives them, as WITH NO SCHEMA BINDING does.
create function redshift.create_late_binding_view(name text, query text, replaces boolean) returns void
language plpgsql
as $$
declare
    columns text;
    names text;
    body text;
    function_name text := 'redshift.view_' || replace(cast(gen_random_uuid() as text), '-', '');
begin
    execute 'create temporary view late_binding_probe as ' || query;
    select
        string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum),
        string_agg(format('%I', attname), ', ' order by attnum)
    into columns, names
    from pg_attribute
    where attrelid = cast('pg_temp.late_binding_probe' as regclass) and attnum > 0;
    drop view pg_temp.late_binding_probe;
    if replaces then
        execute 'drop view if exists ' || name;
    end if;
    body := format(
        E'#variable_conflict use_column\nbegin return query execute %L; end',
        'select ' || names || ' from (' || query || ') as query'
    );
    execute format('create function %s() returns table (%s) language plpgsql stable as %L', function_name, columns, body);
    execute format('create view %s as select * from %s()', name, function_name);
    insert into redshift.late_binding_views values (cast(name as regclass));
end
$$;

-- The lengths of a table that was made from a query or like another one.
create function redshift.count_bytes(relation text) returns void language plpgsql
as $$
declare
    name text;
    size integer;
begin
    for name, size in
        select attname, atttypmod - 4 from pg_attribute
        where attrelid = to_regclass(relation) and atttypid = cast('varchar' as regtype) and atttypmod > 0
    loop
        perform redshift.resize(relation, name, size);
    end loop;
end
$$;

-- A new length of a varchar, which counts bytes.
create function redshift.resize(relation text, name text, size integer) returns void language plpgsql
as $$
declare
    old text;
begin
    select conname into old from pg_constraint
    where conrelid = cast(relation as regclass) and conname ~ ('^longer_than_\d+_' || name || '$');
    if old is not null then
        execute format('alter table %s drop constraint %I', relation, old);
    end if;
    execute format('alter table %s alter column %I type varchar(%s)', relation, name, size);
    execute format(
        'alter table %s add constraint %I check (octet_length(%I) <= %s)',
        relation, format('longer_than_%s_%s', size, name), name, size
    );
end
$$;

-- The views of Redshift that clients read. What is not kept here is null or zero.
set allow_system_table_mods = on;
create view pg_catalog.svv_table_info as
select
    current_database()::varchar as database, pg_namespace.nspname::varchar as schema, pg_class.oid as table_id,
    pg_class.relname::varchar as "table",
    case
        when designs.dist_key is not null then 'KEY(' || designs.dist_key || ')'
        when designs.dist_style is not null then upper(designs.dist_style)
        else 'AUTO(ALL)'
    end::varchar as diststyle,
    case
        when designs.sort_style = 'interleaved' then 'INTERLEAVED'
        else coalesce(designs.sort_keys[1], 'AUTO(SORTKEY)')
    end::varchar as sortkey1,
    coalesce(cardinality(designs.sort_keys), 0) as sortkey_num,
    (pg_relation_size(pg_class.oid) / 1048576)::bigint as size,
    greatest(pg_class.reltuples, 0)::numeric(38, 0) as tbl_rows,
    'Y, AUTO(ENCODE)'::varchar as encoded, null::integer as max_varchar, null::varchar as sortkey1_enc,
    0::numeric(10, 4) as pct_used, 0::bigint as empty, 0::numeric(5, 2) as unsorted, 0::numeric(5, 2) as stats_off,
    null::numeric(19, 2) as skew_sortkey1, null::numeric(19, 2) as skew_rows
from pg_class
inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
left join redshift.designs on designs.table_id = pg_class.oid
where pg_class.relkind = 'r' and pg_namespace.nspname not in ('redshift', 'information_schema')
    and pg_namespace.nspname !~ '^pg_'
    and pg_relation_size(pg_class.oid) > 0;  -- it leaves out empty tables
create view pg_catalog.svv_redshift_columns as
select
    table_catalog::varchar as database_name, table_schema::varchar as schema_name, table_name::varchar as table_name,
    column_name::varchar as column_name, ordinal_position::integer as ordinal_position,
    coalesce(domain_name, replace(data_type, 'bytea', 'binary varying'))::varchar as data_type, column_default::varchar as column_default,
    is_nullable::varchar as is_nullable, null::varchar as remarks
from information_schema.columns
where table_schema not in ('redshift', 'information_schema', 'pg_catalog');
create view pg_catalog.svv_external_columns as
select
    ''::varchar as schemaname, ''::varchar as tablename, ''::varchar as columnname, ''::varchar as external_type,
    0 as columnnum, 0 as part_key
where false;
create view pg_catalog.svv_relation_privileges as
select
    table_schema::varchar as namespace_name, table_name::varchar as relation_name,
    lower(privilege_type)::varchar as privilege_type, grantee::varchar as identity_name,
    'user'::varchar as identity_type
from information_schema.role_table_grants;
create view pg_catalog.sys_query_detail as
select null::integer as table_id, null::varchar as step_name, null::timestamp as start_time where false;
create view pg_catalog.sys_load_error_detail as
select
    start_time, session_id, current_database()::varchar as database_name, table_name, file_name, column_name,
    reason as error_message
from redshift.load_errors;
create view pg_catalog.stl_load_errors as
select start_time as starttime, file_name as filename, column_name as colname, reason as err_reason
from redshift.load_errors;
-- The stand-in's late-binding views show in information_schema, too: here they would show twice.
create function pg_catalog.pg_get_late_binding_view_cols() returns setof record language sql stable
as $$ select null::name, null::name, null::name, null::varchar, null::integer where false $$;
grant select on
    pg_catalog.svv_table_info, pg_catalog.svv_redshift_columns, pg_catalog.svv_external_columns,
    pg_catalog.svv_relation_privileges, pg_catalog.sys_query_detail, pg_catalog.sys_load_error_detail,
    pg_catalog.stl_load_errors
to public;
