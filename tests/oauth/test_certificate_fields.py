"""Certificates as proxies write them: five formats, each exactly."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

import pytest
from certificate_fields import BAD, DIGEST, GOOD, HEX, LEAF, PEM, TEXT, pem

from tokenguard._oauth.certificate import LONGEST, MalformedCertificateError, der_of_pem, digest_of_der, read_field

GOOD_ONES = [(form, name) for form, fields in GOOD.items() for name in fields]
BAD_ONES = [(form, name) for form, fields in BAD.items() for name in fields]


def test_there_are_enough_of_them():
    assert len(GOOD_ONES) + len(BAD_ONES) >= 120
    assert len(GOOD_ONES) >= (len(GOOD_ONES) + len(BAD_ONES)) / 4


@pytest.mark.parametrize(("form", "name"), GOOD_ONES)
def test_a_field_names_its_leaf(form, name):
    digest, der = read_field(GOOD[form][name], form)
    assert digest == DIGEST
    assert der == (None if form == "xfcc" else LEAF)


@pytest.mark.parametrize(("form", "name"), BAD_ONES)
def test_anything_else_is_none(form, name):
    with pytest.raises(MalformedCertificateError) as caught:
        read_field(BAD[form][name], form)
    assert str(caught.value) == "not a certificate in this form"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("form", GOOD)
def test_no_format_is_taken_for_another(form):
    for other, fields in GOOD.items():
        for value in fields.values():
            if form == other or {form, other} <= {"der", "traefik"}:
                continue
            with pytest.raises(MalformedCertificateError):
                read_field(value, form)


@pytest.mark.parametrize("form", GOOD)
def test_a_field_has_a_size(form):
    padding = " " * (LONGEST + 1)
    values = {
        "rfc9440": f":{b64encode(bytes(LONGEST)).decode()}:",
        "pem": pem(bytes(LONGEST)).replace("\n", " "),
        "der": b64encode(bytes(LONGEST)).decode(),
        "traefik": ",".join([TEXT] * (LONGEST // len(TEXT) + 1)),
        "xfcc": f"By={'a' * LONGEST};Hash={HEX}",
    }
    with pytest.raises(MalformedCertificateError):
        read_field(values[form], form)
    assert read_field(next(iter(GOOD[form].values())) + padding, form)[0] == DIGEST


def test_a_text_of_the_largest_size_is_read_in_no_time():
    for value in (
        "-----BEGIN CERTIFICATE-----" + " " * 30_000,
        "-----BEGIN CERTIFICATE-----A" * 1_100,
        "By=" + "a;" * 15_000,
        'By="' + "\\" * 30_000,
        "%" * 32_000,
        "%0a" * 10_000,
    ):
        for form in GOOD:
            with pytest.raises(MalformedCertificateError):
                read_field(value, form)


def test_nothing_has_no_thumbprint():
    with pytest.raises(MalformedCertificateError):
        digest_of_der(b"")
    assert digest_of_der(LEAF) == DIGEST
    assert der_of_pem(PEM) == LEAF


# What a mutant of a rule would let pass or reject, character by character.


def digest(der):
    return hashlib.sha256(der).digest()


@pytest.mark.parametrize("size", [30, 31, 32])
def test_padding_of_rfc9440_may_be_left_out_but_not_in_part(size):
    der = bytes(range(1, size + 1))
    whole = b64encode(der).decode()
    bare = whole.rstrip("=")
    assert read_field(f":{whole}:", "rfc9440") == (digest(der), der)
    assert read_field(f":{bare}:", "rfc9440") == (digest(der), der)
    for wrong in {f":{bare}{'=' * count}:" for count in range(1, 6)} - {f":{whole}:"}:
        with pytest.raises(MalformedCertificateError):
            read_field(wrong, "rfc9440")


@pytest.mark.parametrize("text", ["AAAA", "AAAAA", "AAAAAA", "AAAAAAA"])
def test_both_colons_of_rfc9440_are_needed(text):
    for wrong in (f":{text}", f"{text}:", text, ":", "::", ""):
        with pytest.raises(MalformedCertificateError):
            read_field(wrong, "rfc9440")


@pytest.mark.parametrize("form", ["der", "traefik"])
def test_letters_at_either_end_are_part_of_the_certificate(form):
    der = b64decode("XaaaXaaX")
    assert read_field("XaaaXaaX", form) == (digest(der), der)
    assert read_field(" \tXaaaXaaX\t ", form) == (digest(der), der)


def test_only_blanks_separate_the_certificates_of_traefik():
    assert read_field("AAAA , AAAA", "traefik")[1] == b"\0\0\0"
    for wrong in ("AAAA\n,AAAA", "AAAA,AAAA\x0b,AAAA", "AAAA,XAAAAX X", "\x0cAAAA", "AAAA,XAAA A"):
        with pytest.raises(MalformedCertificateError):
            read_field(wrong, "traefik")


def test_a_field_of_the_longest_size_is_read():
    text = "A" * LONGEST
    assert read_field(text, "der")[1] == bytes(LONGEST * 3 // 4)
    with pytest.raises(MalformedCertificateError):
        read_field(text + "AAAA", "der")


@pytest.mark.parametrize("written", ["X{}", "{}X", 'X"{}"', "X{}X", "'{}'"])
def test_a_hash_has_64_digits_and_nothing_else(written):
    with pytest.raises(MalformedCertificateError):
        read_field(f"Hash={written.format('ab' * 32)}", "xfcc")
