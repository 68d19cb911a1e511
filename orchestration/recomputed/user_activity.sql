-- What `user_activity` has to say of each event of a visitor, apart from the catalogue: the names of a row in order.
select
    visitor as key,
    concat_ws(chr(31), occurred_text, event_id, place) as sort,
    concat_ws(
        ', ',
        'brand=' || brand,
        'cart_id=' || cart_id,
        'category=' || category,
        'currency=' || currency,
        'event_id=' || event_id,
        'event_type=' || event_type,
        'name=' || name,
        'occurred_at=' || occurred_text,
        'order_id=' || order_id,
        'price=' || price,
        'product_id=' || product_id,
        'quantity:' || quantity,
        'query=' || query,
        'total=' || total,
        'variant=' || variant
    ) as said,
    event_id,
    counts and is_passed as is_due
from counting
where visitor is not null and (counts or counts_so_far)
