"""The one exception that a user may see: its message names the file and what to do next."""


class UserError(Exception):
    """Something the user can mend. Commands print its message alone, without a traceback."""
