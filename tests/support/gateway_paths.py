"""Paths as a proxy may report them: those that match no route, and what the others mean."""

ODD = [
    b"", b"*", b"orders", b"http://api.example.com/orders", b"//", b"//orders", b"/orders//1", b"/orders//", b"/.",
    b"/..", b"/orders/.", b"/orders/..", b"/orders/../health", b"/./orders", b"/%2e", b"/%2E%2e/orders", b"/.%2e/x",
    b"/orders%2f1", b"/orders%2F1", b"/orders/%2f", b"/orders%5c1", b"/orders%5C..%5Chealth", b"/orders\\1",
    b"/orders%00", b"/%00", b"/orders\x00", b"/orders;a=b", b"/orders;/1", b"/;", b"/orders%3b", b"/orders%3Ba",
    b"/orders%", b"/orders%4", b"/orders%zz", b"/%%", b"/orders%25", b"/orders%252f1", b"/%25%32%66", b"/%u0041",
    b"/orders%0a", b"/orders%0d%0a", b"/orders%09", b"/orders%7f", b"/orders%1b", b"/orders\t", b"/orders\r",
    b"/orders%c2%85", b"/orders%c2%9f", b"/orders%ff", b"/orders%c0%af", b"/orders%c3", b"/orders%ed%a0%80",
    b"/orders\xff", b"/orders%e0%80%af", b"/orders 1", b"/orders#1", b"/#/orders",
]  # fmt: skip

PLAIN = {
    b"/": ("",),
    b"/orders": ("orders",),
    b"/orders/": ("orders", ""),
    b"/%6frders": ("orders",),
    b"/a%20b": ("a b",),
    b"/%C3%BC": ("ü",),
    b"/\xc3\xbc": ("ü",),
    b"/a%3fb%23": ("a?b#",),
    b"/...": ("...",),
    b"/.well-known/..a": (".well-known", "..a"),
    b"/a+b*{c}": ("a+b*{c}",),
}
