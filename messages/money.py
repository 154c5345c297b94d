"""Money is an integer count of minor units and an ISO 4217 code; never a float.

Amounts that move are > 0 and < 2**63, so that they fit every store and language they pass through.
"""

from typing import Annotated, Final, TypeGuard

import msgspec

MAX_MINOR: Final = 2**63 - 1

Amount = Annotated[int, msgspec.Meta(ge=1, le=MAX_MINOR)]
"""A movable amount in minor units: 1 .. 2**63 - 1."""

Limit = Annotated[int, msgspec.Meta(ge=0, le=MAX_MINOR)]
"""A limit in minor units: 0 .. 2**63 - 1."""

Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}(?!\n)$")]

# ISO 4217 list one, active codes with a minor unit; funds codes and metals left out.
MINOR_DIGITS: Final[dict[str, int]] = {
    code: digits
    for digits, codes in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"),
        (
            2,
            "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP "
            "BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP "
            "GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW "
            "KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR "
            "MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR "
            "SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS "
            "UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
        ),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
    )
    for code in codes.split()
}
"""ISO 4217 code -> digits after the decimal point."""


def is_currency(code: object) -> TypeGuard[str]:
    """Whether `code` is an active ISO 4217 currency."""
    return type(code) is str and code in MINOR_DIGITS


def is_amount(value: object) -> TypeGuard[int]:
    """Whether `value` is an amount that may move: an int (not a bool), 1 .. 2**63 - 1."""
    return type(value) is int and 1 <= value <= MAX_MINOR
