"""The version, apart from the package so that every layer can import it."""

__version__ = "0.1.0"
