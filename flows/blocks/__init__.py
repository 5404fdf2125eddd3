"""Block types, and the storage and providers resolved from them."""
