"""Durable records: SQLAlchemy Core on SQLite by default, PostgreSQL by URL."""
