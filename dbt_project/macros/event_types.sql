{#- Generated from ingestion/events.py by `python -m orchestration.dbt_sources`: change the contract instead. -#}
{% macro event_types() %}
  {{ return({
    'category_viewed': ['category', 'list_id'],
    'products_searched': ['query', 'results'],
    'product_clicked': ['product_id', 'sku', 'name', 'category', 'brand', 'variant', 'price', 'currency', 'quantity', 'coupon', 'position', 'list_id'],
    'product_viewed': ['product_id', 'sku', 'name', 'category', 'brand', 'variant', 'price', 'currency', 'quantity', 'coupon', 'position', 'value'],
    'product_added': ['product_id', 'sku', 'name', 'category', 'brand', 'variant', 'price', 'currency', 'quantity', 'coupon', 'position', 'cart_id'],
    'product_removed': ['product_id', 'sku', 'name', 'category', 'brand', 'variant', 'price', 'currency', 'quantity', 'coupon', 'position', 'cart_id'],
    'product_added_to_wishlist': ['product_id', 'sku', 'name', 'category', 'brand', 'variant', 'price', 'currency', 'quantity', 'coupon', 'position', 'wishlist_id', 'wishlist_name'],
    'cart_viewed': ['cart_id', 'currency'],
    'checkout_started': ['currency', 'total', 'subtotal', 'revenue', 'shipping', 'tax', 'discount', 'coupon', 'affiliation', 'checkout_id', 'order_id', 'value'],
    'checkout_step_completed': ['checkout_id', 'order_id', 'step', 'shipping_method', 'payment_method'],
    'payment_info_entered': ['checkout_id', 'order_id', 'step', 'shipping_method', 'payment_method'],
    'order_completed': ['currency', 'total', 'subtotal', 'revenue', 'shipping', 'tax', 'discount', 'coupon', 'affiliation', 'order_id', 'checkout_id'],
    'order_refunded': ['currency', 'total', 'subtotal', 'revenue', 'shipping', 'tax', 'discount', 'coupon', 'affiliation', 'order_id'],
  }) }}
{% endmacro %}

{% macro event_types_with_products() %}
  {{ return(['category_viewed', 'cart_viewed', 'checkout_started', 'order_completed', 'order_refunded']) }}
{% endmacro %}
