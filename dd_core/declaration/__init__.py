"""How configuration classes register, validate and identify themselves."""
