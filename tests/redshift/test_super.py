"""SUPER values are looked into, taken apart and cast as on Redshift."""

from decimal import Decimal

import pytest

from tests.redshift.conftest import Client

ORDERS = '{"Total": 12.3400, "items": [{"id": "a", "price": 1.5}, {"id": "b"}], "note": "x", "none": null}'


@pytest.fixture
def orders(client: Client) -> Client:
    client.run("create table orders (id bigint, detail super)")
    client.run(f"insert into orders values (1, json_parse('{ORDERS}')), (2, null)")
    client.connection.commit()
    return client


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("o.detail.note", '"x"'),
        ("o.detail.items[1].id", '"b"'),
        ("o.detail.items[7].id", None),
        ("o.detail.Total", None),
        ("cast(o.detail.note as varchar(8))", "x"),
        ("cast(o.detail.items[0].price as decimal(18, 4))", Decimal("1.5000")),
        ("cast(o.detail.note as bigint)", None),
        ("cast(o.detail.none as bigint)", None),
        ("get_array_length(o.detail.items)", 2),
    ],
)
def test_a_path_leads_to_its_value_or_to_null(path: str, value: object, orders: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/query-super.html; names are folded to lower case, and casts are lax."""
    assert orders.ask(f"select {path} from orders as o where o.id = 1") == [(value,)]


def test_an_array_is_taken_apart_with_the_places_of_its_elements(orders: Client) -> None:
    """docs.aws.amazon.com/redshift/latest/dg/query-super.html#unnest"""
    sql = """
    select o.id, n, cast(item.id as varchar(8)), cast(item.price as decimal(18, 4))
    from orders as o, o.detail.items as item at n
    order by n
    """
    assert orders.ask(sql) == [(1, 0, "a", Decimal("1.5000")), (1, 1, "b", None)]


def test_an_array_is_taken_apart_without_their_places(orders: Client) -> None:
    sql = "select cast(item.id as varchar(8)) from orders as o, o.detail.items as item order by 1"
    assert orders.ask(sql) == [("a",), ("b",)]
