"""A real Kafka and a real PostgreSQL as child processes, from pip packages alone, no Docker.

`devstack.stack.Stack` starts both and gives their addresses; `python -m devstack` does the same
from a shell. It is for development, tests and the demo: one machine, no passwords, and never a
child process that outlives its parent. It knows nothing of the bank.
"""
