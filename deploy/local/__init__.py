"""The embedded stack: Postgres from a wheel and the three services, on one machine, with nothing installed.

Does    `make up`, `run`, `status`, `logs`, `psql`, `backup`, `restore`, `down`, `clean`; lends its parts to the tests and to the demo.
Read    postgres (the server), database (roles, schemas, migrations), secret (keys), supervise, stack, backup, then __main__.
"""
