"""HTTP: routes, schemas, the fast path, errors as problems, the middleware and the protocol."""
