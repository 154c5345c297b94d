"""The journal kernel (docs/architecture.md): one owner per partition, one atomic append per step.

A processor reads an input topic, decides, appends a batch of events to its journal and only then
sends what follows from them. It promises: every reader sees the same valid history, every input
is handled once, every output reaches its receiver once, whatever crashes. It knows nothing of
accounts or sagas.
"""
