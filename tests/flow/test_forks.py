"""A fork while a thread of the parent holds a lock: the child waits for nobody (threat 117, S25).

Each program holds one lock in another thread, forks, and uses in the child what the lock guards.
"""

import gc
import os
import weakref

import pytest
from clocked_validator import run_python

from tokenguard._flow import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROGRAM = """
import asyncio, os, signal, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads; gunicorn does it all the same
from opentelemetry.sdk.metrics import MeterProvider
from tokenguard import InvalidTokenError, Issuers, TokenValidator, UnavailableError, audit, otel
from tokenguard.otel import key_gauges
from tokenguard.redis import RedisStore
from tokenguard.revocations import Entry, RevocationList
from tokenguard._io import runtime
from tokenguard._validation.memory import Memory
from tokenguard.testing import FakeIssuer

KEY = ("jti", "https://auth.example.com/", "j1")
NOBODY = "redis://127.0.0.1:9/0"

def unavailable(call, *arguments):
    try:
        call(*arguments)
    except (UnavailableError, OSError):
        return
    except Exception as error:
        assert type(error).__module__.startswith("redis"), error
        return
    raise AssertionError("answered")

def refused(call, *arguments):
    try:
        call(*arguments)
    except InvalidTokenError:
        return
    raise AssertionError("accepted")

{made}

held, over = threading.Event(), threading.Event()
def hold():
    lock = {lock}
    lock.acquire()
    held.set()
    over.wait()
    lock.release()
holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(120)  # far: a child that waits for the parent's thread would wait for ever
    try:
        {used}
    except BaseException as error:
        os.write(1, repr(error).encode())
        os._exit(1)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
over.set()
holder.join()
print("waited" if code == -signal.SIGALRM else code)
"""

JWT = "issuer = FakeIssuer(); validator = issuer.validator(); token = issuer.mint()"
OPAQUE = (
    "issuer = FakeIssuer(); validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))"
    "; token = issuer.mint_opaque(); validator.validate(token)"
)
TENANT = (
    "issuer = FakeIssuer(); found = issuer.as_issuer(); token = issuer.mint()"
    "; validator = TokenValidator(Issuers(lambda iss: found), issuer.audience, transport=issuer.transport)"
)
STORE = "store = RedisStore(NOBODY, local_copy_max_age=60, timeout=0.2); store._copy.remember([KEY], [None], 0)"
INTROSPECTOR = "validator._authorities[0].introspector"
CASES = {
    "remembered verdicts": (JWT, "validator._memory._lock", "validator.validate(token)"),
    "verdicts without a validator": ("memory = Memory(9)", "memory._lock", "memory.put(b'1', 1)"),
    "keys": (JWT, "validator._authorities[0].keys._lock", "validator.validate(token); validator.state()"),
    "keys, in a loop": (JWT, "validator._authorities[0].keys._lock", "asyncio.run(validator.validate_async(token))"),
    "issuers that are looked up": (TENANT, "validator._directory._lock", "validator.validate(token)"),
    "the budget of the unproven": (
        TENANT,
        "validator._validation._directory.find(issuer.url).keys._budget._lock",
        "validator.validate(token)",
    ),
    "questions": (OPAQUE, f"{INTROSPECTOR}._lock._lock", "validator.validate(issuer.mint_opaque())"),
    "answers": (OPAQUE, f"{INTROSPECTOR}._answers._lock", "validator.validate(token)"),
    "connections of threads": (OPAQUE, "validator._threads.pool._lock", "validator.close()"),
    "connections of loops": (
        OPAQUE,
        "validator._loops.clients._lock",
        "asyncio.run(validator.validate_async(issuer.mint_opaque()))",
    ),
    "a revocation list": (
        "listed = RevocationList()",
        "listed._memory._lock",
        "listed.revoke(KEY[1], KEY[2], 9e9); assert listed.revoked(KEY[1], KEY[2], None, None, None, 0, 0)",
    ),
    "a revocation list, in a loop": (
        "listed = RevocationList()",
        "listed._memory._lock",
        "asyncio.run(listed.revoke_async(KEY[1], KEY[2], 9e9))",
    ),
    "a local copy": (STORE, "store._copy._lock", "store.local_entries((KEY,))"),
    "a local copy, in a validator": (
        f"{STORE}; issuer = FakeIssuer(); validator = issuer.validator(revocations=RevocationList(store))",
        "store._copy._lock",
        "unavailable(validator.validate, issuer.mint())",
    ),
    "Redis clients": (STORE, "store._clients._lock", "unavailable(store.keep_entry, KEY, Entry(9e9))"),
    "Redis clients, in a loop": (
        STORE,
        "store._clients._lock",
        "unavailable(asyncio.run, store.keep_entry_async(KEY, Entry(9e9)))",
    ),
    "closing Redis clients": (STORE, "store._clients._lock", "store.close()"),
    "the pool of a Redis client": (
        f"{STORE}; client = store._clients.for_threads(); client.connection_pool.make_connection()",
        "store._clients.for_threads().connection_pool._lock",
        "del client; unavailable(store.read_entries, (KEY,))",
    ),
    "observers": (JWT, "runtime._observing._lock", "audit.enable(validator)"),
    "the audit": (
        f"{JWT}; audit.enable(validator); (trail,) = validator.observer.members",
        "trail._bounds._lock",
        "refused(validator.validate, 'x')",
    ),
    "gauges": (
        f"{JWT}; provider = MeterProvider()",
        "key_gauges.gauges_of._lock._lock",
        "otel.instrument(validator, meter_provider=provider)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_threat_117_a_child_does_not_wait_for_a_lock_of_the_parent(case):
    made, lock, used = CASES[case]
    assert run_python(PROGRAM.format(made=made, lock=lock, used=used), measured=False).strip() == "0"


def test_what_nobody_holds_any_more_is_not_renewed():
    lock = forks.Lock()
    before, gone = lock._lock, weakref.ref(lock)
    forks._in_child()
    assert lock._lock is not before
    del lock
    gc.collect()
    assert gone() is None
    forks._in_child()


def test_a_part_that_cannot_be_renewed_stops_no_other():
    class Broken:
        def after_fork(self):
            raise OSError

    lock, broken = forks.Lock(), Broken()
    before = lock._lock
    forks.renew_after_fork(broken)
    forks._in_child()
    assert lock._lock is not before
