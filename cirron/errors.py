"""The exceptions of cirron."""


class CirronError(Exception):
    """Base of every exception that cirron defines."""


class CirronDependencyError(CirronError, ImportError):
    """An optional package is missing; the message says how to install it."""
