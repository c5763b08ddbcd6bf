"""Which passwords are taken, and what is kept of them."""

from __future__ import annotations

import pytest

from packbook.adapters.second_step import recovery_codes, recovery_digest, step_of
from packbook.core.accounts import KEY, Reach, login_of
from packbook.core.password import refused
from packbook.core.sign_in import device_of, network_of, new_key

from .firm import quick


@pytest.mark.parametrize(
    "password",
    [
        "violet harbour ninth otter",
        "さくら、電池、みどりの窓、なつやすみ",
        "8347261958340271",
        "Tr0ub4dor&3 and then some",
        "x9$Kq!mZ2@wP7#vL",
    ],
)
def test_long_ones_are_taken_whatever_they_are_made_of(password: str) -> None:
    """No digits asked for, no capitals, any script."""
    assert refused(password, "anna@example.org", "Anna") is None


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("correct horse", "short"),
        ("x" * 300, "unusable"),
        ("violet harbour\x00ninth otter", "unusable"),
        ("passwordpassword", "common"),
        ("aaaaaaaaaaaaaaaaaaaa", "common"),
        ("123456789012345678", "common"),
        ("qwertyuiopasdfghjkl", "common"),
        ("Packbook-Battery-2026!", "common"),
        ("anna.example.org123", "common"),
        ("Password1234567!", "common"),
    ],
)
def test_the_first_that_anybody_would_try_are_not(password: str, why: str) -> None:
    """Long is no help where everybody thinks of it."""
    assert refused(password, "anna@example.org", "Anna") == why


async def test_a_password_typed_on_another_machine_is_the_same() -> None:
    """One keyboard composes ü, another sends it in two."""
    passwords = quick()
    kept = await passwords.hash("Grüße vom See im Süden")
    assert await passwords.belongs("Gru\u0308ße vom See im Su\u0308den", kept)
    assert not await passwords.belongs("Gruesse vom See im Sueden", kept)
    assert not await passwords.belongs("Grüße vom See im Süden", None)
    assert kept.startswith("$argon2id$")


def test_one_name_is_one_account_however_it_is_spelled() -> None:
    """Two accounts that look alike would be a trap."""
    assert login_of(" Anna@Example.ORG ") == login_of("anna@example.org") == login_of("ａｎｎａ@example.org")
    assert [login_of(text) for text in ("", "a", "a b", "x" * 255, "a\x00b")] == [None] * 5


def test_codes_count_within_a_step_beside_and_never_twice() -> None:
    """RFC 6238's own example secret, SHA-1, at 59 s (its appendix B), in the six digits that apps show."""
    secret, at_ms = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 59_000
    assert step_of(secret, "287082", at_ms, None) == 1
    assert step_of(secret, " 287 082", at_ms + 30_000, None) == 1
    assert step_of(secret, "287082", at_ms + 60_000, None) is None
    assert step_of(secret, "287082", at_ms, 1) is None
    assert step_of(secret, "", at_ms, None) is None


def test_recovery_codes_are_read_as_people_write_them() -> None:
    """Capitals, spaces, no dashes: the same code; another account's is another."""
    code = recovery_codes()[0]
    assert recovery_digest("a", code) == recovery_digest("a", code.upper().replace("-", " "))
    assert recovery_digest("a", code) != recovery_digest("b", code)
    assert len(set(recovery_codes())) == 10


def test_keys_and_networks() -> None:
    """A key can be told by its beginning; a guest with a whole network is one guest."""
    prefix, key = new_key()
    assert KEY.fullmatch(key)
    assert key.startswith(f"pbk_{prefix}_")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:1::1")
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("unknown") == "unknown"


def test_a_browser_is_named_as_its_owner_would() -> None:
    """So that he knows his own in the list; every browser also says that it is some others."""
    chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
    phone = (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1"
    )
    assert device_of(chrome) == "Chrome, Linux"
    assert device_of(f"{chrome} Edg/126.0") == "Edge, Linux"
    assert device_of(phone) == "Safari, iPhone"
    assert device_of("") == ""


def test_a_reach_within_a_reach_is_the_smaller() -> None:
    """Whoever narrows cannot widen."""
    firm, mine = Reach("main"), Reach("main", frozenset({"a", "b"}))
    assert firm.narrowed(mine) == mine.narrowed(firm) == mine
    assert mine.narrowed(Reach(None, frozenset({"b", "c"}))) == Reach("main", frozenset({"b"}))
    assert firm.narrowed(Reach("rival")).batteries == frozenset()
    assert Reach(None).narrowed(Reach(None)) == Reach(None)
