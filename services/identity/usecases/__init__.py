"""A method a call: the rule, then one transaction. Only purges ask other services."""
