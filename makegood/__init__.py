"""The command line and the composition root: settings, roles, `makegood up` and `demo`.

Everything is put together here; no rule of the bank lives here.
"""
