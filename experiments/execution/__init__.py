"""Where and how a run happens: processes, their events, the clock, what machine it was."""
