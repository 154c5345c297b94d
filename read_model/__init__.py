"""The read side: `projector` folds both journals into PostgreSQL, `queries` answers from there.

Everything in it can be thrown away and rebuilt. Queries never touch Kafka.
"""
