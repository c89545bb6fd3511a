"""All SQL of identity, as functions of a transaction."""
