"""What the two person samplers share."""
