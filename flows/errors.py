"""The one error of the command line that is nobody's fault but the command's."""


class UserError(ValueError):
    """The command line asks for something that can not be; the message says what to do. Exit code 2, no traceback."""
