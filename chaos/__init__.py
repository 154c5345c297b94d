"""The bank on three real brokers, under attack: processes and brokers killed and frozen.

`python -m chaos` runs a bank's workload while faults of every kind happen, heals everything, and
then holds what the clients were told against what the journals say (`audit`). What the simulator
does a hundred thousand times on a log in memory happens here a thousand times for real.
"""
