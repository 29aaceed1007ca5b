"""Programs as their users write them by hand: what the harness is measured against."""
