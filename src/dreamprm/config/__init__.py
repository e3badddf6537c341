"""Declaring, reading and describing settings; registries of strategies; the errors a user sees."""
