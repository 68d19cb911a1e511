"""A shop, whose rows the stand-in takes over."""

from tests.dbt_project.conftest import make_shop, shop

__all__ = ["make_shop", "shop"]
