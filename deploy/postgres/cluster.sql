-- What holds in a cluster that is Teppan's alone: its roles have nothing to do in the databases that every cluster has.
REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC;
