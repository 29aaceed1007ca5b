"""The same whatever the framework: tasks, data, plans, runs, records, statistics and reports."""
