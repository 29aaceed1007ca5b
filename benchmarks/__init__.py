"""Measurements, each a program that prints a page or a table; never part of the tests."""
