"""What a nonce is made of, and that nothing else passes for one (RFC 9449 section 9)."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from tokenguard._oauth import dpop_nonce

SECRET, OTHER = b"s" * 32, b"o" * 40
NOW = 1_900_000_000.123


@pytest.mark.parametrize("now", [0.0, NOW, 1_900_000_000, -1.5, 0.001])
def test_a_nonce_says_when_it_was_made_to_the_millisecond(now):
    assert dpop_nonce.time_of(dpop_nonce.make(SECRET, now), [SECRET]) == pytest.approx(now, abs=0.0011)


@pytest.mark.parametrize(("now", "read"), [(2.0**60, 2.0**43), (-(2.0**60), -(2.0**43)), (2.0**43, 2.0**43)])
def test_a_clock_that_is_far_off_breaks_nothing(now, read):
    assert dpop_nonce.time_of(dpop_nonce.make(SECRET, now), [SECRET]) == read


def test_its_form_is_fixed_so_that_processes_of_two_releases_agree():
    nonce = dpop_nonce.make(SECRET, NOW)
    octets = urlsafe_b64decode(nonce)
    assert len(nonce) == 32
    assert octets[:8] == int(NOW * 1_000).to_bytes(8, "big")
    assert octets[8:] == hmac.digest(SECRET, b"tokenguard DPoP nonce\0" + octets[:8], hashlib.sha256)[:16]


def test_nonces_of_fixed_times():
    assert dpop_nonce.make(SECRET, 0.0) == "AAAAAAAAAACcwD2wPWKREyP9FIkaOHX7"
    assert dpop_nonce.make(SECRET, -1.5) == "________-iRq1fakvI8C6xmfMjF7Xd52"
    assert dpop_nonce.make(SECRET, NOW) == "AAABumDTOHtlRIuO3vA4tbf_l4hAgbQ3"
    assert dpop_nonce.time_of("________-iRq1fakvI8C6xmfMjF7Xd52", [SECRET]) == -1.5
    assert dpop_nonce.time_of("AAABumDTOHtlRIuO3vA4tbf_l4hAgbQ3", [SECRET]) == NOW


def test_each_of_several_secrets_is_good_and_no_other_is():
    nonce = dpop_nonce.make(OTHER, NOW)
    for secrets, good in (
        ([OTHER], True),
        ([SECRET, OTHER], True),
        ([OTHER, SECRET], True),
        ([SECRET], False),
        ([], False),
    ):
        assert (dpop_nonce.time_of(nonce, secrets) is not None) is good


def test_a_code_for_another_purpose_is_none():
    time = int(NOW * 1_000).to_bytes(8, "big")
    code = hmac.digest(SECRET, time, "sha256")[:16]
    assert dpop_nonce.time_of(urlsafe_b64encode(time + code).decode(), [SECRET]) is None


def test_no_octet_may_be_changed():
    octets = bytearray(urlsafe_b64decode(dpop_nonce.make(SECRET, NOW)))
    for place in range(len(octets)):
        changed = bytearray(octets)
        changed[place] ^= 1
        assert dpop_nonce.time_of(urlsafe_b64encode(changed).decode(), [SECRET]) is None


@pytest.mark.parametrize(
    "nonce",
    [
        None,
        1,
        b"a" * 32,
        ["a"] * 32,
        "",
        "a",
        "a" * 31,
        "a" * 33,
        "é" * 32,
        "é" * 16,
        "a" * 31 + "é",
        "\ud800" * 32,
        "a" * 31 + "=",
        "a" * 31 + "+",
        " " * 32,
        "a" * 10_000,
    ],
    ids=repr,
)
def test_nothing_else_is_a_nonce(nonce):
    assert dpop_nonce.time_of(nonce, [SECRET]) is None


def test_white_space_around_it_is_not_overlooked():
    nonce = dpop_nonce.make(SECRET, NOW)
    for changed in (f" {nonce}", f"{nonce}\n", nonce[:-1] + "\n", nonce.upper()):
        assert dpop_nonce.time_of(changed, [SECRET]) is None
