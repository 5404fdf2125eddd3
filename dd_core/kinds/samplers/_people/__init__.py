"""Helpers of the samplers `person` and `person_from_faker`."""
