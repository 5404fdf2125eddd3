"""Block types, and the storage locations and providers that are loaded from blocks."""
