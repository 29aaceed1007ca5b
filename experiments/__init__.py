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

composition (what Hydra refuses, in our words), settings (conf -> job), preparation (jobs -> sweep), training (the runs
of a sweep) and recording (events -> store and screen) join the rooms; job, sweep and records are what passes between
them; metrics is what is measured, fingerprint how things are named, errors what can go wrong. ARCHITECTURE.md says who
may import whom.
"""
