"""The same whatever the framework. Which question is answered where.

task          what is learned, in words no framework owns
data          on which examples
contract      what a framework is given, and what it must offer
execution     where and how a run happens
tracking      where it is kept
tuning        which setting is best
parity        is it the same
statistics    how sure are we
report        how is it said

command_line, composition and config_files (what was typed, what Hydra makes of it, files of one's own), settings (conf
-> job), preparation (jobs -> sweep), training (the runs of a sweep) and recording (events -> store and screen) join the
rooms; job, sweep and records are what passes between them. metrics is what is measured, divergence when a number ends a
run; fingerprint how things are named, uris and folders where they may lie; errors is what can go wrong, interruption
when a signal is heeded, ending how a command ends. ARCHITECTURE.md says who may import whom.
"""
