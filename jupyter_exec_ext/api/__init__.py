"""The native REST API and its contract."""
