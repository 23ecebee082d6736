"""Certificates as proxies write them: five formats, each exactly."""

from __future__ import annotations

from base64 import b64encode

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
