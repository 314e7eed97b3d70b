"""The verbs: the only place that knows what a request means."""
