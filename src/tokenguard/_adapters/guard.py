"""What every adapter is made of: settings prepared once, and one validation of every request.

Owns: `Guard.validate` and `Guard.validate_async`, observed or not; `Guard.note`, for every outcome. Must not know:
any framework, any protocol (see `request`), status codes, what makes a token good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from contextlib import suppress
from copy import copy
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote

from tokenguard._adapters import proofs, validators
from tokenguard._adapters.hints import record
from tokenguard._adapters.metadata import metadata_of
from tokenguard._adapters.public_paths import public_paths
from tokenguard._adapters.request import IN_A_PATH, Described, Reader
from tokenguard._adapters.validators import checked
from tokenguard._flow.effects import Flow
from tokenguard._oauth.certificate import MalformedCertificateError, read_field
from tokenguard._oauth.confirmation import KEY
from tokenguard._oauth.credential import (
    DPOP,
    PREFIX,
    SCHEME,
    credential,
    credential_of_either,
    has_token,
    is_dpop,
    is_usual_token,
)
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import decision
from tokenguard._observe.observers import within_adapter
from tokenguard._observe.run import Run
from tokenguard._settings import switch
from tokenguard.challenge import Rejection, checked_realm, reject
from tokenguard.errors import (
    ConfigurationError,
    MissingTokenError,
    TokenGuardError,
)
from tokenguard.request import ResourceRequest, with_digest
from tokenguard.requirements import NOTHING, OPTIONAL, Required, Requirement, both
from tokenguard.resource import DPoP, MutualTLS, ResourceMetadata
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

R = TypeVar("R")

TOKEN_KEY = "tokenguard.access_token"
GUARD_KEY = "tokenguard.door"  # as audit and metrics call it
POLICY_VIOLATION = 1008  # closes a websocket that cannot be rejected otherwise (RFC 6455 section 7.4.1)

_PREFIX: Final = PREFIX.encode()
_SKIPPED: Final = len(_PREFIX)
_BLANKS: Final = " \t"  # around a value they are no part of it (RFC 9110 section 5.5); some servers leave them
_SEPARATORS: Final = (",", " ", "\t")  # what no token holds, and stands between several
_SCOPES: Final = "_tokenguard_scopes"  # on an error: the scopes that the route requires
_FAILED: Final = "the guard failed; the log says where"

# Made while nothing is wrong: if answering fails as well (a stack used up to its end, say), this is left to send.
_LAST_RESORT = reject(None)


class _Replaced(NamedTuple):
    """The call of something that replaces a validator."""

    raw: str
    arguments: dict[str, Any]
    said: ResourceRequest | None


class Guard(Generic[R]):
    """A guarded app's settings and its way to the validator. Made once, at construction of the adapter.

    `name` tells the adapters apart, `reader` reads their requests. Raises `ConfigurationError` for a bad setting.
    `validator` is None only for `UNGUARDED`; then every request that needs it ends in a `ConfigurationError`.

    An adapter asks `validate` or `validate_async` and answers what these raise by `reject`. What else it decides by
    itself passes `note_and_reject`, or `check` where a token was validated before.
    """

    __slots__ = (
        "_check",
        "_credentials",
        "_log",
        "_validate",
        "_validate_async",
        "behind",
        "dpop",
        "metadata",
        "mtls",
        "name",
        "public",
        "reader",
        "realm",
        "required",
        "resource_metadata",
        "show_reason",
        "validator",
    )

    def __init__(
        self,
        name: str,
        reader: Reader[R],
        validator: TokenValidator | None,
        *,
        scope: str | Iterable[str] | Requirement = (),
        require: Required | None = None,
        public: str | Iterable[str] = (),
        optional: bool = False,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
    ) -> None:
        self.name = name
        self.reader = reader
        self._credentials = reader.credentials
        self.validator = validator
        self._validate, self._validate_async, self._check = validators.ours(validator)
        self.dpop, self.mtls = (
            validators.setting(validator, "dpop", DPoP),
            validators.setting(validator, "mtls", MutualTLS),
        )
        if self.dpop is not None and not reader.takes_schemes:
            raise ConfigurationError(
                "header and dpop exclude each other: a bound token comes in Authorization, under its own scheme"
            )
        self._log = BoundedLog()
        with suppress(Exception):  # a validator's replacement need not flush it
            validator.logs.add(self._log)  # type: ignore[union-attr]
        self.required = asked_for(both(scope, require), optional=optional)
        self.public = public_paths(public) or None
        self.realm = checked_realm(realm)
        self.resource_metadata, self.metadata = metadata_of(resource_metadata, validator)
        self.show_reason = switch("show_reason", show_reason)
        self.behind: Guard[R] = self  # for a decorator: nobody has looked at the credentials of a public path
        if self.public is not None:
            self.behind = copy(self)
            self.behind.public = None

    # --------------------------------------------------------------------------------------------------- validation

    def validate(self, request: R, required: Requirement) -> AccessToken | None:
        """The token of `request`, which is good; None on a public path, and without credentials where `required` is
        `OPTIONAL`.

        Every outcome but None is noted. Raises nothing but `TokenGuardError`.
        """
        run = None
        try:
            validator: Any = self.validator
            # Whatever replaces the validator or a method of it, by whatever means, is called instead.
            known: Any = None
            ours = self._validate
            if ours is not None:
                method = validator.validate
                if type(method) is MethodType and method.__func__ is ours and method.__self__ is validator:
                    known = validator
                    observer = known.observer
                    if observer is not None:
                        run = Run(observer)
            found = self._begin(request, required, known, run)
            if run is None and isinstance(found, AccessToken):
                return found
            if isinstance(found, _Replaced):
                with within_adapter(validator):
                    token = checked(validator.validate(found.raw, **found.arguments))
                found = self._keep(request, found, token)
                self.note(request, found, None, required)
            elif found is not None and not isinstance(found, AccessToken):
                found = validator._finish(found)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            self._fail(request, error, required, run)
        return self._passed(request, found, required, run)

    async def validate_async(self, request: R, required: Requirement) -> AccessToken | None:
        """`validate` for event loops."""
        begun = self.begin_async(request, required)
        return begun if begun is None or isinstance(begun, AccessToken) else await begun

    def begin_async(self, request: R, required: Requirement) -> AccessToken | Awaitable[AccessToken | None] | None:
        """`validate_async` without a coroutine where there is nothing to wait for."""
        run = None
        try:
            validator: Any = self.validator
            known: Any = None
            ours = self._validate_async
            if ours is not None:
                method = validator.validate_async
                if type(method) is MethodType and method.__func__ is ours and method.__self__ is validator:
                    known = validator
                    observer = known.observer
                    if observer is not None:
                        run = Run(observer)
            found = self._begin(request, required, known, run)
            if run is None and isinstance(found, AccessToken):
                return found
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            self._fail(request, error, required, run)
        if found is None or isinstance(found, AccessToken):
            return self._passed(request, found, required, run)
        return self._finish_async(request, required, found, run)

    async def _finish_async(
        self, request: R, required: Requirement, begun: Flow[AccessToken] | _Replaced, run: Run | None
    ) -> AccessToken | None:
        try:
            validator: Any = self.validator
            if isinstance(begun, _Replaced):
                with within_adapter(validator):
                    token = checked(await validator.validate_async(begun.raw, **begun.arguments))
                found = self._keep(request, begun, token)
                self.note(request, found, None, required)
            else:
                found = await validator._finish_async(begun)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            self._fail(request, error, required, run)
        return self._passed(request, found, required, run)

    def check(self, request: R, token: AccessToken | None, required: Requirement, *, name: str) -> AccessToken | None:
        """A token that was validated before, checked for `required` by the adapter `name`. Noted and raises as
        `validate` does."""
        try:
            if token is None:
                raise MissingTokenError
            if type(token) is not AccessToken or not required.usual_scopes <= token.scopes:
                self._check(checked(token), required, self._resource(request, required))
        except TokenGuardError as error:
            self.note(request, None, error, required, name=name)
            raise
        if validators.observer_of(self.validator) is not None:
            self.note(request, token, None, required, name=name)
        return token

    def stands(self, request: R, token: AccessToken) -> bool:
        """Whether `token`, which was validated before, needs no proof, or had it in `request` as it is now."""
        if not isinstance(token, AccessToken) or KEY not in token.confirmation:  # `check` rejects what is no token
            return True
        values, query = self._credentials(request)
        with suppress(TokenGuardError):  # `validate` raises it
            under_dpop, raw = credential_of_either([value.decode("latin-1") for value in values], query)
            proved = proofs.proved(self.reader, request, self.validator, raw) if under_dpop else None
            return proved is not None and proved.token is token
        return False

    def is_public(self, request: R) -> bool:
        """Whether the path of `request` needs no token. `_begin` asks the same without this call."""
        route = None if self.public is None else self.reader.route(request)
        return self.public is not None and route is not None and self.public.cover(*route)

    def _begin(
        self, request: R, required: Requirement, known: TokenValidator | None, run: Run | None
    ) -> AccessToken | Flow[AccessToken] | _Replaced | None:
        """The token at once, or the flow that gets it; what to call where something replaces `known`, the validator;
        None where no token is needed."""
        # First: a request without credentials must not hide that nothing is guarded.
        if known is None and self.validator is None:
            raise ConfigurationError("no validator is set for this guarded app: give it one")
        if self.public is not None:
            route = self.reader.route(request)
            if route is not None and self.public.cover(*route):
                return None
        values, query = self._credentials(request)
        if (
            known is not None
            and len(values) == 1
            and type(value := values[0]) is bytes
            and value[:_SKIPPED] == _PREFIX
            and not (query and has_token(query))
        ):
            if run is not None:
                run.start()
            asked = self._read(request, required) if required.needs_request else None
            reading = None if self.mtls is None else partial(self._read, request, required)
            begun = known._begin(value[_SKIPPED:], required, is_usual_token, run, asked, reading)
            if begun is not None:
                return begun
            if run is not None:
                run.discard()
        return self._begin_otherwise(
            request, required, known, run, [value.decode("latin-1") for value in values], query
        )

    def _begin_otherwise(
        self,
        request: R,
        required: Requirement,
        known: TokenValidator | None,
        run: Run | None,
        values: list[str],
        query: str,
    ) -> AccessToken | Flow[AccessToken] | _Replaced | None:
        """What is spelled another way than nearly all credentials, or is none, or comes with a proof."""
        under_dpop = False
        try:
            if self.dpop is None:
                raw = credential(values, query)
            else:
                under_dpop, raw = credential_of_either(values, query)
        except MissingTokenError:  # only this one may let a request pass: one out of a check must not
            if required is OPTIONAL:
                return None
            raise
        if under_dpop and (proved := proofs.proved(self.reader, request, self.validator, raw)) is not None:
            if not required.usual_scopes <= proved.token.scopes:
                self._check(proved.token, required, self._resource(request, required))
            return proved.token
        said = None
        if under_dpop or required.needs_request or self.mtls is not None:
            said = self._read(request, required, DPOP if under_dpop else SCHEME)
        replaced = _Replaced(raw, validators.arguments(required, said), said)
        if known is None:
            return replaced
        if run is not None:
            run.start()
        begun = known._begin_text(raw, required, None, said, run)
        if isinstance(begun, AccessToken):
            return self._keep(request, replaced, begun)
        return self._keeping(request, replaced, begun) if under_dpop else begun

    def _resource(self, request: R, required: Requirement) -> ResourceRequest | None:
        """What `request` said, where a requirement looks at it."""
        if not required.needs_request:
            return None
        return self._read(request, required, SCHEME if self.dpop is None else self._scheme(request))

    def _read(self, request: R, required: Requirement, scheme: str = SCHEME) -> ResourceRequest:
        """What `request` said; its fields only where a requirement looks at them."""
        reader = self.reader
        digest, certificate = self._certificate(request)
        proofs = [value.strip(_BLANKS) for value in reader.fields(request, DPOP)]
        url = quote(reader.path(request), safe=IN_A_PATH, errors="surrogatepass")
        said = ResourceRequest(
            reader.method(request),
            url,
            scheme,
            proofs[0] if len(proofs) == 1 else proofs or None,
            certificate,
            reader.headers(request) if required.needs_request else (),
        )
        return said if digest is None else with_digest(said, digest)

    def _certificate(self, request: R) -> tuple[bytes | None, bytes | None]:
        """The SHA-256 of the client's certificate, where a proxy sends it, and its DER. A trusted peer speaks for its
        client by the field alone, any other peer for itself by its connection alone."""
        reader, mtls = self.reader, self.mtls
        if mtls is None or mtls.header is None or not mtls.trusts(reader.address(request)):
            return None, reader.certificate(request)
        values = reader.fields(request, mtls.header)
        try:
            return read_field(values[0], str(mtls.format)) if len(values) == 1 else (None, None)
        except MalformedCertificateError:
            return None, None

    def _keep(self, request: R, asked: _Replaced, token: AccessToken) -> AccessToken:
        proofs.keep(self.reader, request, self.validator, asked.raw, asked.said, token)
        return token

    def _keeping(self, request: R, asked: _Replaced, flow: Flow[AccessToken]) -> Flow[AccessToken]:
        return self._keep(request, asked, (yield from flow))

    def nonce(self, request: R) -> str | None:
        """What the answer to `request` carries as `DPoP-Nonce`, None for nothing."""
        return proofs.nonce(self.reader, request, self.validator)

    @property
    def gives_nonces(self) -> bool:
        """Whether `nonce` may ever give one."""
        return self.dpop is not None and self.dpop.nonce_secret is not None

    # ----------------------------------------------------------------------------------------------------- outcomes

    def _passed(
        self, request: R, token: AccessToken | None, required: Requirement, run: Run | None
    ) -> AccessToken | None:
        if run is not None and token is not None:
            run.end(None)
            self.note(request, token, None, required)
        return token

    def _fail(self, request: R, error: Exception, required: Requirement, run: Run | None) -> NoReturn:
        """Note an error and raise it, one that is not ours as a `ConfigurationError`."""
        if run is not None:
            run.end(error)
        self.note(request, None, error, required)
        if isinstance(error, TokenGuardError):
            raise error
        raise ConfigurationError(_FAILED) from None

    def note(
        self,
        request: R,
        token: AccessToken | None,
        error: BaseException | None,
        required: Requirement = NOTHING,
        *,
        name: str = "",
    ) -> None:
        """Every request that ended in `error` passes here, once, and every good `token` that an observer sees.

        A `token` beside an `error` is the good token of a request that the application rejected. `required`: what was
        asked of the token. `name` is the adapter's, where one works behind another's guard. Never
        raises.
        """
        if error is not None:
            self._hint(name or self.name, error)
            self.attach_scopes(error, required)
        observer = validators.observer_of(self.validator)
        if observer is not None:
            observer.decided(
                decision(
                    name or self.name,
                    token,
                    error,
                    required.scopes,
                    Described(self.reader, request),
                    partial(self._sent, request),
                )
            )

    def attach_scopes(self, error: BaseException, required: Requirement) -> None:
        """Let the challenge list what a token must grant, where there is metadata beside it."""
        if self.metadata is not None:
            vars(error)[_SCOPES] = (self.required if required is NOTHING else required).scopes

    def _hint(self, name: str, error: BaseException) -> None:
        record(self._log, name, error)

    def _sent(self, request: R, longest: int) -> tuple[str, bool]:
        text = self.reader.sent(request, _SKIPPED + longest)
        scheme, _, rest = text.partition(" ")
        is_ours = scheme.lower() in (SCHEME.lower(), SCHEME.lower() if self.dpop is None else DPOP.lower())
        credential = rest.strip(" \t") if is_ours else text
        return credential, is_ours and not any(one in credential for one in _SEPARATORS)

    def reject(self, error: BaseException, request: R) -> Rejection:
        """The answer to `request`, which ended in `error`, with this app's settings. Never raises."""
        try:
            return reject(
                error,
                realm=self.realm,
                resource_metadata=self.resource_metadata,
                show_reason=self.show_reason,
                scheme=SCHEME if self.dpop is None else self._scheme(request),
                dpop=self.dpop,
                # An application may raise one object behind several adapters.
                scope=() if self.metadata is None else vars(error).get(_SCOPES, ()),
            )
        except Exception:  # noqa: BLE001 - the last resort must not depend on what went wrong
            return _LAST_RESORT

    def _scheme(self, request: R) -> str:
        return DPOP if is_dpop([value.decode("latin-1") for value in self._credentials(request)[0]]) else SCHEME

    def serve(self, request: R, *apps: object) -> Rejection | None:
        """The answer to a request for this app's metadata, where it has some to serve; None for any other request.

        `apps`: where the routes are whose scopes it lists."""
        if self.metadata is None:
            return None
        return self.metadata.answer(self.reader.method(request), self.reader.path(request), self.required, apps)

    def note_and_reject(
        self, request: R, error: BaseException, required: Requirement = NOTHING, *, name: str = ""
    ) -> Rejection:
        """Note an outcome that `validate` did not raise, and answer it."""
        self.note(request, None, error, required, name=name)
        return self.reject(error, request)


def asked_for(required: Requirement, *, optional: bool) -> Requirement:
    """What an adapter or a route asks for, `OPTIONAL` where a request without credentials passes.

    Raises `ConfigurationError` for `optional` beside a requirement.
    """
    if not switch("optional", optional):
        return required
    if required is not NOTHING:
        raise ConfigurationError(
            "optional and a scope or requirement exclude each other: what needs no token has none; ask the token that"
            " came"
        )
    return OPTIONAL
