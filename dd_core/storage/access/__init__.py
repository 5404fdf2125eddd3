"""Access to a dataset's storage: who owns a dataset, what storage refuses, and trial writes."""
