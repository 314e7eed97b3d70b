"""Commands: programs run beside a kernel, under a guard that ends all that they started."""
