"""Scientific models in JAX."""
