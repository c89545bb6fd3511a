"""`python -m probe`: whether the service of this container serves, by the environment that the service itself has."""
