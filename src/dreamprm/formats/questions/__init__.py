"""Questions of published datasets: one frozen dataclass a dataset, found by name in `FORMATS`."""
