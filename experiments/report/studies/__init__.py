"""What a report says of searches."""
