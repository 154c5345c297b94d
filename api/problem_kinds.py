"""The kinds of problems that the API answers with, each with its status and what to do about it.

A kind's name is the last part of the problem's `type`, and `GET /problems/{name}` explains it.
409: the account's present state forbids it, later it may go through under a new key. 422: it was
understood, but this request can never go through as it is.
"""

from typing import Final, NamedTuple

from messages.account import RefusalReason

_NEW_KEY: Final = "Then ask again under a new Idempotency-Key: the old one keeps its answer."
_SAME_KEY: Final = (
    "Repeat the request with the same Idempotency-Key: that is safe, nothing is done twice."
)


class Kind(NamedTuple):
    """`retry_after_s` 0: no Retry-After header."""

    status: int
    title: str
    meaning: str
    remedy: str
    retry_after_s: int = 0


KINDS: Final[dict[str, Kind]] = {
    "invalid-request": Kind(
        400,
        "The request is not valid",
        "Some of its values are missing, unknown or out of range.",
        "Correct the places listed in errors.",
    ),
    "malformed-request": Kind(
        400,
        "The request is malformed",
        "The request could not be read.",
        "Send one JSON object in UTF-8, without repeated members.",
    ),
    "idempotency-key-missing": Kind(
        400,
        "The Idempotency-Key is missing or not usable",
        "What changes something needs a key that names this one request.",
        "Send one Idempotency-Key header of 1 to 200 visible ASCII characters, a fresh one (such "
        "as a UUID) for every new request, the same one for every repetition.",
    ),
    "not-found": Kind(
        404, "There is nothing here", "No resource has this path.", "See /docs for what there is."
    ),
    "transfer-unknown": Kind(
        404,
        "There is no such transfer",
        "The read model does not know the transfer.",
        "If it was started just now, ask again with ?after= and the as_of of the answer.",
    ),
    "saga-unknown": Kind(
        404,
        "There is no such saga",
        "The read model does not know the saga. A transfer's saga has the transfer's id, 32 hex "
        "digits in lower case.",
        "Look for it with GET /sagas?id= and the beginning of its id; if it was started just now, "
        "ask again with ?after= and the as_of of the answer.",
    ),
    "account-unknown": Kind(
        404,
        "There is no such account",
        "The account does not exist.",
        "Open it with POST /accounts; if that was just now, ask again with ?after=.",
    ),
    "method-not-allowed": Kind(
        405,
        "The method is not allowed here",
        "This resource does not take that method.",
        "Use one of the methods in the Allow header.",
    ),
    "request-too-slow": Kind(
        408, "The body came too slowly", "The body was not complete in time.", _SAME_KEY
    ),
    "body-too-large": Kind(
        413,
        "The body is too large",
        "A body has at most 64 KiB, that of a payroll 960 KiB.",
        "Send less.",
    ),
    "media-type-unsupported": Kind(
        415,
        "The body is of another type",
        "Bodies are JSON, not compressed.",
        "Send Content-Type: application/json and no Content-Encoding.",
    ),
    "idempotency-key-reused": Kind(
        422,
        "The Idempotency-Key stands for another request",
        "This key was used before with another body.",
        "Use a fresh key for a new request, or the very same body for a repetition.",
    ),
    "definition-unknown": Kind(
        422,
        "There is no such definition",
        "No saga definition has this name.",
        "Leave definition out for a plain transfer.",
    ),
    "not-completed": Kind(
        409,
        "The transfer is not completed",
        "Only what has been completed can be reversed.",
        "Wait for its end, then ask again with ?after= and the as_of of the answer that told it. "
        "What was compensated has moved nothing.",
    ),
    "not-reversible": Kind(
        422,
        "The transfer can't be reversed",
        "Transfers of its definition are not reversed, nor is a reversal.",
        "Make a transfer in the other direction.",
    ),
    "recovery-refused": Kind(
        409,
        "The saga can't be recovered like that",
        "The saga's present state forbids it; reason says why. Nothing has changed.",
        "Look at the saga again; see 'Parked sagas' in the runbook.",
    ),
    "signal-refused": Kind(
        409,
        "The saga does not take this signal",
        "No step waits for it now, or not from this person; reason says why. Nothing has changed.",
        "Look at the saga again: its step and reason tell what it waits for.",
    ),
    "request-refused": Kind(
        422, "The request was refused", "The service refused it.", "See reason and detail."
    ),
    "too-many-requests": Kind(
        429, "Too many requests wait", "More wait than can be taken.", _SAME_KEY, 1
    ),
    "too-many-streams": Kind(
        503,
        "Too many event streams are open",
        "This server follows as many sagas at once as it may.",
        "Ask for the saga's timeline from time to time instead, or come back later.",
        10,
    ),
    "internal-error": Kind(500, "The server failed", "This is a fault of the server.", _SAME_KEY),
    "no-answer": Kind(
        503,
        "No answer in time",
        "The request may or may not have been carried out, or may still be.",
        _SAME_KEY,
        2,
    ),
    "not-ready": Kind(
        503,
        "Not ready yet",
        "The request was not taken: the answers are not followed yet.",
        _SAME_KEY,
        2,
    ),
    "clocks-apart": Kind(
        503,
        "The clocks of the servers are apart",
        "The account's service takes the request for too old or from the future. Nothing was done.",
        "The operator has to set the clocks right. " + _SAME_KEY,
        30,
    ),
    "read-model-away": Kind(
        503, "The read model is away", "The database does not answer.", "Ask again.", 2
    ),
    "read-model-behind": Kind(
        503,
        "The read model is behind",
        "It has not come as far as the position that the request names. Nothing was done.",
        _SAME_KEY,
        2,
    ),
    "account-exists": Kind(
        409, "The account exists", "The account is open already.", "Choose another id."
    ),
    "account-frozen": Kind(
        409, "The account is frozen", "It takes no such order.", f"Unfreeze it. {_NEW_KEY}"
    ),
    "account-closed": Kind(
        409, "The account is closed", "It is closed for good.", "Use another account."
    ),
    "account-not-frozen": Kind(
        409, "The account is not frozen", "There is nothing to unfreeze.", "Nothing is to be done."
    ),
    "account-not-empty": Kind(
        409,
        "The account is not empty",
        "It still has a balance or holds.",
        f"Withdraw or transfer what is left. {_NEW_KEY}",
    ),
    "currency-mismatch": Kind(
        422,
        "The account is kept in another currency",
        "An account holds one currency.",
        f"Use the account's currency. {_NEW_KEY}",
    ),
    "insufficient-funds": Kind(
        409,
        "The available balance does not cover it",
        "Balance and overdraft limit, less what is held, must not become negative.",
        f"Deposit first, or ask for less. {_NEW_KEY}",
    ),
    "transfer-limit-exceeded": Kind(
        422,
        "The amount is above the limit per transfer",
        "The account limits single amounts.",
        f"Ask for less, or raise the limit. {_NEW_KEY}",
    ),
    "daily-limit-exceeded": Kind(
        409,
        "The daily limit is used up",
        "The account limits what goes out in a day (UTC).",
        f"Wait for the next day, or raise the limit. {_NEW_KEY}",
    ),
    "balance-overflow": Kind(
        409, "The balance would overflow", "A balance is below 2**63.", f"Ask for less. {_NEW_KEY}"
    ),
}

REFUSALS: Final[dict[RefusalReason, str]] = {
    "account_unknown": "account-unknown",
    "account_exists": "account-exists",
    "account_frozen": "account-frozen",
    "account_closed": "account-closed",
    "account_not_frozen": "account-not-frozen",
    "account_not_empty": "account-not-empty",
    "currency_mismatch": "currency-mismatch",
    "insufficient_funds": "insufficient-funds",
    "transfer_limit_exceeded": "transfer-limit-exceeded",
    "daily_limit_exceeded": "daily-limit-exceeded",
    "balance_overflow": "balance-overflow",
    "effect_expired": "clocks-apart",
    "clock_ahead": "clocks-apart",
    "effect_reused": "idempotency-key-reused",
    # No command of the API makes holds or is taken back by a saga.
    "hold_unknown": "request-refused",
    "too_many_holds": "request-refused",
    "effect_voided": "request-refused",
}
"""What an account's refusal is to the outside."""
