"""A PRM for others. `serve`: behind HTTP, requests read apart, batched together, answered by one model.
`export`: as a checkpoint that other software loads."""
