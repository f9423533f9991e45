# SPDX-License-Identifier: MIT
"""The library's statuses as exceptions.

All are MaskcError, with the status as a number and the library's whole message. They are also the
built-in exceptions that a caller would expect: a wrong array is a ValueError, a variant that has no
kernel a NotImplementedError.
"""


class MaskcError(RuntimeError):
    """Any failure. `status` is the mkc_status, 0 where the library was not reached."""

    def __init__(self, message, status=0):
        super().__init__(message)
        self.status = status


class SpecError(MaskcError, ValueError):
    """The spec does not load, means nothing, or is not there."""


class ArgumentError(MaskcError, ValueError):
    """An array or an option has the wrong shape, type, stride, alignment, device or value."""


class UsageError(MaskcError):
    """The call itself is wrong, or made where it cannot work."""


class NotServedError(MaskcError, NotImplementedError):
    """The request is right, and no kernel serves it yet. The message names the part."""


class EnvironmentLacksError(MaskcError):
    """This machine lacks something: NVRTC, a GPU, a compiler, the library itself."""


class InternalError(MaskcError):
    """A bug of maskc. Please report it with the message."""


_BY_STATUS = {1001: SpecError, 1002: ArgumentError, 1003: SpecError, 3001: NotServedError}
_BY_CATEGORY = {2: UsageError, 3: EnvironmentLacksError}


def from_status(status, message):
    """The exception for a status that is not 0."""
    kind = _BY_STATUS.get(status) or _BY_CATEGORY.get(status // 1000, InternalError)
    return kind(message, status)
