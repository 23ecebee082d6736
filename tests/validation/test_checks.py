"""`tokenguard.checks`: alone, and in a real validator."""

import dataclasses

import pytest

from tokenguard import ConfigurationError, InvalidTokenError, Reason
from tokenguard.checks import ClaimEquals, ClientAllowList, MaxAge, RequireClaims
from tokenguard.testing import Clock, FakeIssuer

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("check", "claims", "reason"),
    [
        (RequireClaims("sub"), {"sub": "a"}, None),
        (RequireClaims(["sub", "tier"]), {"sub": "a"}, Reason.MISSING_CLAIM),
        (RequireClaims("sub"), {"sub": None}, Reason.MISSING_CLAIM),
        (ClaimEquals("tier", "gold"), {"tier": "gold"}, None),
        (ClaimEquals("tier", ["gold", "silver"]), {"tier": "silver"}, None),
        (ClaimEquals("tier", "gold"), {"tier": ("gold",)}, Reason.INVALID_CLAIM),
        (ClaimEquals("tier", "gold"), {}, Reason.MISSING_CLAIM),
        (ClaimEquals("on", True), {"on": 1}, Reason.INVALID_CLAIM),
        (ClaimEquals("level", 2), {"level": 2.0}, None),
        (ClaimEquals("level", 2), {"level": "2"}, Reason.INVALID_CLAIM),
        (ClaimEquals("level", 1), {"level": True}, Reason.INVALID_CLAIM),
        (ClientAllowList({"web"}), {"client_id": "web"}, None),
        (ClientAllowList("web"), {"client_id": "we"}, Reason.CLIENT),
        (ClientAllowList("web"), {"azp": "web"}, Reason.CLIENT),
        (ClientAllowList("web", ["client_id", "azp"]), {"azp": "web"}, None),
        (ClientAllowList("web", ["client_id", "azp"]), {"client_id": "x", "azp": "web"}, Reason.CLIENT),
        (ClientAllowList("web", "azp"), {"azp": ["web"]}, Reason.INVALID_CLAIM),
        (MaxAge(60), {"iat": NOW - 60}, None),
        (MaxAge(60), {"iat": NOW - 61}, Reason.EXPIRED),
        (MaxAge(60), {}, Reason.MISSING_CLAIM),
        (MaxAge(60, "auth_time"), {"auth_time": str(NOW)}, Reason.INVALID_CLAIM),
        (MaxAge(60), {"iat": -(10**400)}, Reason.EXPIRED),
    ],
)
def test_a_check_refuses_what_it_must(check, claims, reason):
    if reason is None:
        assert check(claims, NOW) is None
        return
    with pytest.raises(InvalidTokenError) as refused:
        check(claims, NOW)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (RequireClaims, [()]),
        (RequireClaims, [[""]]),
        (ClaimEquals, ["", "a"]),
        (ClaimEquals, ["a", []]),
        (ClaimEquals, ["a", None]),
        (ClientAllowList, [()]),
        (ClientAllowList, ["web", ()]),
        (MaxAge, [0]),
        (MaxAge, [float("nan")]),
        (MaxAge, [60, ""]),
    ],
)
def test_bad_settings_are_refused(check, arguments):
    with pytest.raises(ConfigurationError):
        check(*arguments)


def test_checks_are_frozen_and_compared_by_value():
    assert ClaimEquals("tier", "gold") == ClaimEquals("tier", ["gold"])
    assert hash(RequireClaims("sub")) == hash(RequireClaims(("sub",)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        MaxAge(60).seconds = 90


def test_checks_run_on_every_call():
    clock = Clock()
    fake = FakeIssuer(clock=clock)
    checks = [RequireClaims("tier"), ClaimEquals("tier", {"gold"}), ClientAllowList("client"), MaxAge(60)]
    with fake.validator(checks=checks) as validator:
        token = fake.mint(tier="gold")
        assert validator.validate(token).claims["tier"] == "gold"
        clock.advance(61)
        with pytest.raises(InvalidTokenError) as refused:
            validator.validate(token)
    assert refused.value.reason is Reason.EXPIRED
