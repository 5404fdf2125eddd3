"""Datasets on disk and in object storage: parts, journals and versions."""
