"""An execution service for Jupyter Server: notebooks run as durable, observable executions."""

__version__ = "0.1.0"
