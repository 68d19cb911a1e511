"""How apps speak to the collector: one module per wire format, each a pure mapping to the event contract."""
