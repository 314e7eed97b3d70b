"""The only code that talks to kernels."""
