"""HTTP and the wire formats of inference servers."""
