"""The errors and the warning that vonenet raises on purpose.

Each carries one line that says what was wrong, with which value, and what is allowed; the command
line prints that line and nothing else.
"""


class VOneNetError(Exception):
    """Anything that vonenet refuses to do."""


class InputError(VOneNetError, ValueError):
    """A value from the user that cannot be used."""


class SettingError(InputError, TypeError):
    """A keyword that does not exist; Python's own error for one is a TypeError."""


class CheckpointError(InputError):
    """A weights file that is damaged, hostile, or not of the model it is loaded into."""


class DownloadError(VOneNetError, OSError):
    """Weights that could not be fetched, with the address and the place to put them by hand."""


class Preempted(VOneNetError):  # noqa: N818 - a state, not a mistake
    """A training that a scheduler stopped, and that goes on when the same command is run again."""


class VOneNetWarning(UserWarning):
    """A configuration that works but is probably not what was meant."""
