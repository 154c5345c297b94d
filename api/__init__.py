"""The HTTP API: transfers, accounts, sagas. Commands go to Kafka, queries to the read model.

`app.py` puts it together, `gateway.py` asks the services and hears their answers in the journals,
`problem_kinds.py` lists every error with its remedy.
"""
