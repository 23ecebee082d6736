"""The URL of a request, as its path and the bases of an API give it."""

import pytest

from tokenguard._oauth.request_target import Target, spelled, target, targets_of


@pytest.mark.parametrize(
    ("base", "start"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://API.example.com:443/", "https://api.example.com"),
        ("https://api.example.com:80/", "https://api.example.com:80"),
        ("http://api.example.com:80/v1//", "http://api.example.com/v1"),
        ("https://[2001:DB8::1]:8443/X/", "https://[2001:db8::1]:8443/X"),
        ("https://api.example.com/a%20b/c;d=1,2", "https://api.example.com/a%20b/c;d=1,2"),
    ],
)
def test_a_base_is_spelled_as_clients_do(base, start):
    assert spelled(target(base)) == start


def test_a_path_is_below_each_base():
    bases = (Target("https", "a", 443, "/"), Target("https", "b", 443, "/XX/"), Target("https", "c", 443, "/v1"))
    paths = [found.path for found in targets_of("/orders%2Cx?y#z", bases)]
    assert paths == ["/orders,x", "/XX/orders,x", "/v1/orders,x"]
    assert [found.path for found in targets_of("", bases)] == ["/", "/XX", "/v1"]
    assert targets_of("orders", bases) == []
    assert targets_of("https://b/x", bases) == [Target("https", "b", 443, "/x")]
    assert targets_of("https://b:444/x", bases) == []
