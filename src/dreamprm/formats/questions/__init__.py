"""Questions of published datasets: one frozen dataclass per dataset, found by name in `FORMATS`."""
