"""What a dataset records about its files, and whether they are still what was written."""
