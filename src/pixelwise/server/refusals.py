"""Refusals: what a server says no to, in one shape: {"error": {"code": …, "message": …}}."""

STATUS = {
    "bad_request": 400,
    "unauthorized": 401,
    "read_only": 403,
    "cross_origin": 403,
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "too_large": 413,
    "too_many_pixels": 413,
    "unsupported_media": 415,
    "wrong_host": 421,
    "bad_option": 422,
    "bad_picture": 422,
    "bad_mask": 422,
    "queue_full": 429,
    "internal": 500,
    "shutting_down": 503,
    "timed_out": 503,
    "no_memory": 503,
    "no_space": 503,
}
"""{code: HTTP status}."""


class Refusal(Exception):
    """A request is refused.

    Args:
        code: one of `STATUS`.
        message: one sentence for a person, without anything of the server's machine.
        retry_after: seconds after which to try again.
    """

    def __init__(self, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after = code, message, retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    @property
    def headers(self) -> dict[str, str]:
        """Those that go with it."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.code == "unauthorized" else {})

    def record(self) -> dict[str, dict[str, str]]:
        """What is sent."""
        return {"error": {"code": self.code, "message": self.message}}
