"""Protobuf <-> domain. Shapes were validated before (protovalidate, in the interceptor): here they are converted."""
