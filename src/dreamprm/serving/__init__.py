"""`dreamprm serve`: a PRM behind HTTP. Requests are read apart, batched together, answered by one model."""
