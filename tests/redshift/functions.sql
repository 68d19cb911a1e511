-- What functions mean on Redshift. The schema is searched before pg_catalog.
create function redshift.getdate() returns timestamp language sql stable
as $$ select cast(now() at time zone 'UTC' as timestamp(0)) $$;

-- Counts the boundaries between two moments, not the time that has passed. A week begins on Sunday.
create function redshift.datediff(part text, a timestamp, b timestamp) returns bigint language sql immutable strict
as $$
select cast(case part
    when 'year' then extract(year from b) - extract(year from a)
    when 'quarter' then (extract(year from b) - extract(year from a)) * 4
        + extract(quarter from b) - extract(quarter from a)
    when 'month' then (extract(year from b) - extract(year from a)) * 12 + extract(month from b) - extract(month from a)
    when 'week' then (date_trunc('week', b + interval '1 day')::date - date_trunc('week', a + interval '1 day')::date) / 7
    when 'day' then b::date - a::date
    when 'hour' then extract(epoch from date_trunc('hour', b) - date_trunc('hour', a)) / 3600
    when 'minute' then extract(epoch from date_trunc('minute', b) - date_trunc('minute', a)) / 60
    when 'second' then extract(epoch from date_trunc('second', b) - date_trunc('second', a))
    when 'millisecond' then extract(epoch from date_trunc('millisecond', b) - date_trunc('millisecond', a)) * 1000
    when 'microsecond' then extract(epoch from b - a) * 1000000
end as bigint)
$$;

-- Takes an integer, and gives a timestamp for a date, too.
create function redshift.dateadd(part text, n integer, t timestamp) returns timestamp language sql immutable strict
as $$
select t + case part when 'quarter' then n * interval '3 month' else n * cast('1 ' || part as interval) end
$$;
create function redshift.dateadd(part text, n integer, t date) returns timestamp language sql immutable strict
as $$ select redshift.dateadd(part, n, cast(t as timestamp)) $$;

create function redshift.len(s text) returns integer language sql immutable strict as $$ select length(s) $$;
create function redshift.nvl(a anycompatible, b anycompatible) returns anycompatible language sql immutable
as $$ select coalesce(a, b) $$;

-- Digits of base 16 as a number; other bases are not needed here.
create function redshift.strtol(digits text, base integer) returns bigint language plpgsql immutable strict
as $$
begin
    if base <> 16 then raise exception 'the stand-in knows strtol of base 16 alone, not %', base; end if;
    return cast(cast('x' || lpad(digits, 16, '0') as bit(64)) as bigint);
end
$$;

-- A VARBYTE as text; other encodings than hex are not needed here.
create function redshift.from_varbyte(value bytea, encoding text) returns text language plpgsql immutable strict
as $$
begin
    if encoding <> 'hex' then raise exception 'the stand-in knows from_varbyte as hex alone, not %', encoding; end if;
    return encode(value, 'hex');
end
$$;

-- concat takes two arguments and is null where one is.
create function redshift.concat(a text, b text) returns text language sql immutable strict as $$ select a || b $$;

-- Every match, not the first.
create function redshift.regexp_replace(s text, pattern text, replacement text) returns text
language sql immutable strict
as $$ select pg_catalog.regexp_replace(s, pattern, replacement, 'g') $$;


-- Empty where nothing matches.
create function redshift.regexp_substr(s text, pattern text) returns text language sql immutable strict
as $$ select coalesce(pg_catalog.regexp_substr(s, pattern), '') $$;
create function redshift.charindex(part text, s text) returns integer language sql immutable strict
as $$ select strpos(s, part) $$;

-- An average of integers is an integer; of decimals, one of the same scale.
create function redshift.average_state(state bigint[], x bigint) returns bigint[] language sql immutable
as $$ select case when x is null then state else array[state[1] + x, state[2] + 1] end $$;
create function redshift.average_of(state bigint[]) returns bigint language sql immutable
as $$ select state[1] / nullif(state[2], 0) $$;
create aggregate redshift.avg(bigint) (
    sfunc = redshift.average_state, stype = bigint[], finalfunc = redshift.average_of, initcond = '{0,0}'
);
create function redshift.average_state(state bigint[], x integer) returns bigint[] language sql immutable
as $$ select redshift.average_state(state, cast(x as bigint)) $$;
create aggregate redshift.avg(integer) (
    sfunc = redshift.average_state, stype = bigint[], finalfunc = redshift.average_of, initcond = '{0,0}'
);
create function redshift.average_state(state numeric[], x numeric) returns numeric[] language sql immutable
as $$ select case when x is null then state else array[state[1] + x, state[2] + 1, greatest(state[3], scale(x))] end $$;
create function redshift.average_of(state numeric[]) returns numeric language sql immutable
as $$ select trunc(state[1] / nullif(state[2], 0), cast(state[3] as integer)) $$;
create aggregate redshift.avg(numeric) (
    sfunc = redshift.average_state, stype = numeric[], finalfunc = redshift.average_of, initcond = '{0,0,0}'
);

-- The first `size` bytes, as far as they are whole characters.
create function redshift.cut(s text, size integer) returns text language plpgsql immutable strict
as $$
begin
    if octet_length(s) <= size then
        return s;
    end if;
    s := left(s, size);
    while octet_length(s) > size loop
        s := left(s, -1);
    end loop;
    return s;
end
$$;

-- Values of SUPER. A path that leads nowhere is null, and so is a value that its cast does not take.
create domain redshift.super as jsonb;
create function redshift.navigate(s jsonb, variadic path text[]) returns jsonb language sql immutable
as $$ select s #> path $$;
create function redshift.super_as(s jsonb, kind anyelement) returns anyelement language plpgsql immutable
as $$
declare
    result kind%type;
begin
    result := s #>> '{}';
    return result;
exception
    when others then return null;
end
$$;
create function redshift.elements(s jsonb) returns setof jsonb language sql immutable
as $$
select jsonb_array_elements(
    case when jsonb_typeof(s) = 'array' then s when s is null then '[]' else jsonb_build_array(s) end
)
$$;
create function redshift.json_parse(s text) returns redshift.super language sql immutable strict
as $$ select cast(s as jsonb) $$;
create function redshift.json_serialize(s redshift.super) returns text language sql immutable strict
as $$ select cast(s as text) $$;
create function redshift.json_typeof(s redshift.super) returns text language sql immutable strict
as $$ select jsonb_typeof(s) $$;
create function redshift.is_array(s redshift.super) returns boolean language sql immutable
as $$ select jsonb_typeof(s) = 'array' $$;
create function redshift.is_object(s redshift.super) returns boolean language sql immutable
as $$ select jsonb_typeof(s) = 'object' $$;
create function redshift.get_array_length(s redshift.super) returns bigint language sql immutable strict
as $$ select case when jsonb_typeof(s) = 'array' then jsonb_array_length(s) end $$;

-- A boolean does not become a varchar.
create function redshift.refuse_boolean(b boolean) returns text language plpgsql immutable strict
as $$
begin
    raise exception 'cannot cast type boolean to character varying' using errcode = '42846';
end
$$;
update pg_cast set castfunc = cast('redshift.refuse_boolean(boolean)' as regprocedure)
where castsource = cast('boolean' as regtype)
    and casttarget in (cast('text' as regtype), cast('varchar' as regtype), cast('bpchar' as regtype));

-- The rows of the session's last COPY.
create function redshift.pg_last_copy_count() returns bigint language sql stable
as $$ select coalesce(cast(nullif(current_setting('redshift.last_copy_count', true), '') as bigint), 0) $$;
