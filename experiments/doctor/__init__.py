"""`action=doctor`: what of this machine and its installation is well, worth knowing or wrong, on one page."""
