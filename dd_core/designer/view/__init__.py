"""Shows records of a dataset: in a terminal, as HTML or as SVG."""
