"""The Python API: `DataDesigner`, its results, estimates and publishing."""
