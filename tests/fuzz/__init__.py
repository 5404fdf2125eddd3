"""Bad input of every kind; see `inputs` for the mutations and `test_fuzz` for what must hold."""
