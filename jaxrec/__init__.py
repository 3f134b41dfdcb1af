"""Sequential recommendation in JAX."""
