"""Other services' wire formats, each a translation of what the native API has, and nothing more.

A dialect has wire structs, pure mappings both ways, an error writer and thin handlers. One that
would need the core to know of it lacks something general there.
"""
