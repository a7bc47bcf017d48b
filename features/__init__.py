"""Events into hashed features: the spec, the hash, the one vectoriser."""
