"""Every view by its name."""

from collections.abc import Mapping

from ingestion.errors import UnknownView
from ingestion.views import product_counters
from ingestion.views.cart_events import cart_events
from ingestion.views.facts import View
from ingestion.views.user_activity import user_activity


def fact_views(activity_days: int = 90, cart_days: int = 90) -> Mapping[str, View]:
    """The views of facts."""
    return {view.name: view for view in (user_activity(activity_days), cart_events(cart_days))}


def fact_view(name: str, activity_days: int = 90, cart_days: int = 90) -> View:
    """The view of facts with this name; UnknownView where there is none."""
    views = fact_views(activity_days, cart_days)
    if name not in views:
        raise UnknownView(f"there is no view {name!r}; the views are {', '.join(views)}")
    return views[name]


def stored_views() -> tuple[str, ...]:
    """Every name under which the views' store keeps something: what a store with tables needs one for."""
    facts = (name for view in fact_views().values() for name in (view.name, view.claims))
    return (*facts, product_counters.NAME)
