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


def problem(read, *args):
    with pytest.raises(MalformedCertificateError) as caught:
        read(*args)
    error = caught.value
    assert str(error) == "not a certificate in this form"
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


@pytest.mark.parametrize("text", ["A", "AA", "AAA", "AAAAA", "AA=", "AAA==", "A===", "AA==AA==", "AAAA===="])
def test_base64_is_whole_and_padded_once(text):
    for form in ("der", "traefik"):
        assert problem(read_field, text, form)
    assert problem(der_of_pem, f"-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----")


@pytest.mark.parametrize(
    ("text", "der"), [("AA==", b"\0"), ("AAA=", b"\0\0"), ("AAAA", b"\0\0\0"), ("+/+/", b"\xfb\xff\xbf")]
)
def test_base64_of_each_length(text, der):
    assert read_field(text, "der") == (digest(der), der)
    assert read_field(text, "traefik") == (digest(der), der)
    assert read_field(f":{text}:", "rfc9440") == (digest(der), der)
    assert der_of_pem(f"-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----") == der


@pytest.mark.parametrize("value", ["", ":", "::", ":::", ":=:", ":====:", "AAAA", ":AAAA", "AAAA:"])
def test_rfc9440_has_something_between_two_colons(value):
    assert problem(read_field, value, "rfc9440")


def test_what_is_not_ascii_is_none_in_any_form():
    for form in GOOD:
        assert problem(read_field, next(iter(GOOD[form].values())) + "é", form)
    assert problem(der_of_pem, PEM + "é")
    assert problem(der_of_pem, PEM.replace("A", "é"))


def test_percent_signs_are_decoded_once_or_none():
    block = "-----BEGIN CERTIFICATE-----AA%3D%3d-----END CERTIFICATE-----"
    assert read_field(block, "pem") == (digest(b"\0"), b"\0")
    for broken in (
        block + "%",
        block + "%0",
        block + "%0G",
        block + "%G0",
        block.replace("%3D", "%253D"),
        block + "%E9",
    ):
        assert problem(read_field, broken, "pem")


def test_the_hash_of_xfcc_is_taken_from_any_place_and_once():
    wanted = (DIGEST, None)
    for value in (
        f"Hash={HEX}",
        f'By=a;Hash="{HEX}"',
        f"hASH={HEX};By=a;",
        f"A=b;C=d;Hash={HEX}",
        f"H=a;Hash={HEX};Hashes=b",
    ):
        assert read_field(value, "xfcc") == wanted
    for value in (
        "",
        "Hash",
        f"Hash={HEX};hash={HEX}",
        f"Hash={HEX};Hash=",
        f"Hash={HEX};;",
        f"By=a,Hash={HEX}",
        "Hash=",
    ):
        assert problem(read_field, value, "xfcc")


def test_white_space_around_a_field_is_blanks_and_tabs():
    assert read_field("\t :AAAA: \t", "rfc9440")[1] == b"\0\0\0"
    for space in "\n\r\x0b\x0c":
        assert problem(read_field, f":AAAA:{space}", "rfc9440")
        assert problem(read_field, f"{space}AAAA", "der")


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
