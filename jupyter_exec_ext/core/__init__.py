"""The words of the project, in standard-library Python: no HTTP, no kernels, no database."""
