"""What can go wrong with a request to the API: one kind of problem for each status, and where it is explained.

Out: `PROBLEMS`; `problem_type(status)`, the address that stands in `type` of every problem document (RFC 9457) and
answers with what is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

MEDIA_TYPE: Final = "application/problem+json"
FOLDER: Final = "/api/v1/problems"


class Kind(NamedTuple):
    name: str
    title: str
    meaning: str  # and what to do about it


PROBLEMS: Final[Mapping[int, Kind]] = {
    400: Kind("malformed", "Malformed", "The request is no HTTP that we can read. Do not repeat it as it is."),
    401: Kind(
        "not-signed-in",
        "Not signed in",
        "This book has accounts: send an API key as `Authorization: Bearer`, or sign in. A key that opens nothing was "
        "revoked, has expired or was never made.",
    ),
    403: Kind("forbidden", "Not for this reader", "Who asks is known, and may not. Ask the operator, not again."),
    404: Kind(
        "not-found",
        "Not found",
        "Not in this book, or nothing that who asks may know of; or it has not arrived yet: `detail` says which.",
    ),
    405: Kind("method-not-allowed", "Method not allowed", "`Allow` names the methods of this address."),
    406: Kind("not-acceptable", "Not acceptable", "`Accept` leaves out the one type that this address answers with."),
    409: Kind(
        "conflict",
        "Not as things stand",
        "What is asked for does not go with what is there: a format needs more than the record holds or its reader may "
        "see, an alert was taken on by another. `detail` says what. Nothing was done.",
    ),
    410: Kind("gone", "No longer open", "A share link that expired, was used up or taken back. Ask for a new one."),
    413: Kind("too-large", "Too large", "The request's body is larger than anything this address takes."),
    422: Kind(
        "invalid",
        "The request cannot be understood",
        "A parameter, or a field of the body, is out of its range. `errors` names each, and why.",
    ),
    429: Kind(
        "too-many", "Too many tries", "Wrong links were tried from this address. Wait for `Retry-After` seconds."
    ),
    500: Kind("mistake", "A mistake of ours", "A condition the book was not written for; its log tells more."),
    503: Kind(
        "unavailable",
        "The book cannot answer now",
        "Its database is away or locked, the book is being stopped, or it lacks what this needs (`detail`). Nothing is "
        "lost; come again after `Retry-After` seconds.",
    ),
}
OTHER: Final = Kind("other", "The request failed", "`status` and `detail` say what is known.")
BY_NAME: Final[Mapping[str, int]] = {kind.name: status for status, kind in PROBLEMS.items()}


def problem_type(status: int) -> str:
    """A path of this book (RFC 9457 §3.1.1 allows relative references): its own, wherever it is served."""
    return f"{FOLDER}/{PROBLEMS[status].name}" if status in PROBLEMS else "about:blank"
