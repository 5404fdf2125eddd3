"""What a secret is, and how it is kept out of everything that is written, logged or raised."""
