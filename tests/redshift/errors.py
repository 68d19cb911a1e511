"""The error of the stand-in."""


class Refused(Exception):
    """A statement that Redshift would not run, or that the stand-in cannot run as Redshift would."""

    def __init__(self, message: str, code: str = "0A000") -> None:
        """`code` is the SQLSTATE."""
        self.code = code
        super().__init__(message)
