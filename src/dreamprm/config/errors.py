"""Errors that are the user's to mend: the command line prints their one message and exits with 2."""


class UserError(ValueError):
    """A mistake in what the user gave: a setting, a file, a combination that cannot work."""


class DataError(UserError):
    """A bad record: the message names file, line, field, value and what is allowed."""
