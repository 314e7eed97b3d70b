"""The only place that knows Tornado: base handler, error table, links."""
