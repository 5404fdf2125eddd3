"""Commands for what a machine needs: models, providers and data for samplers."""
