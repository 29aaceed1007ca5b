"""Which setting is best: searches before a comparison."""
