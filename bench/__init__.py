"""How fast the service is, beside what does the same without it; `make bench` runs it."""
