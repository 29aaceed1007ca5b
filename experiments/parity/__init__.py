"""Is it the same: certificates."""
