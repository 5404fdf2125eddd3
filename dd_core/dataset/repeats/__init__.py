"""Columns that are generated again for a row until a condition holds."""
