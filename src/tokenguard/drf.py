"""Django REST framework: an authenticator, a permission, an exception handler. Settings are Django's `TOKENGUARD`.

Owns: what Django REST framework takes and gives. Must not know: settings and answers (see `tokenguard.django`), what
makes a token good; `rest_framework.views` by import: it loads the default authenticators while it loads itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.permissions import OR, BasePermission
from rest_framework.request import Request

from tokenguard._adapters.behind import UNGUARDED
from tokenguard._adapters.guard import TOKEN_KEY
from tokenguard._adapters.marks import mark, marks
from tokenguard.challenge import Rejection, joined
from tokenguard.django.answers import admit, answer
from tokenguard.django.conf import Conf, current
from tokenguard.errors import MissingTokenError, TokenGuardError
from tokenguard.requirements import OPTIONAL, Required, Requirement, all_of
from tokenguard.token import AccessToken

__all__ = ["BearerAuthentication", "RefusedRequest", "Requires", "exception_handler"]

_WRITTEN: Final = ("WWW-Authenticate", "Retry-After")  # by the handler of Django REST framework, out of the exception


class RefusedRequest(exceptions.APIException):
    """What `BearerAuthentication` and `Requires` raise: the status and challenge of a rejection, and `wait` for
    `Retry-After`. They give the answer the other fields, such as `DPoP-Nonce`, by way of the view. `rejection` is the
    whole answer, which `exception_handler` gives."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.detail)
        fields = joined(rejection.headers)
        self.rejection = rejection
        self.status_code = rejection.status
        self.auth_header = fields.get("WWW-Authenticate")
        self.wait = int(fields["Retry-After"]) if "Retry-After" in fields else None


class TokenUser:
    """`request.user` of a request with a good token: no row of the user table, without any of Django's permissions.

    `pk` names issuer and caller. Blanks of an issuer are doubled, so that the single one behind it ends it.
    """

    is_authenticated = is_active = True
    is_anonymous = is_staff = is_superuser = False
    username = ""

    def __init__(self, access_token: AccessToken) -> None:
        self.access_token = access_token

    @property
    def pk(self) -> str:
        """The issuer, a blank, and `sub:` with the subject, else `client:` with the client id, else `jti:` with the
        token id: no two callers have the same."""
        token = self.access_token
        kinds = (("sub", token.subject), ("client", token.client_id), ("jti", token.token_id or ""))
        return f"{token.issuer.replace(' ', '  ')} " + next(
            f"{kind}:{name}" for kind, name in kinds if name is not None
        )

    def has_perm(self, _perm: str, _obj: object = None) -> bool:
        """False: Django's permissions are of its own users."""
        return False

    has_perms = has_module_perms = has_perm

    def __str__(self) -> str:
        return self.pk


class BearerAuthentication(BaseAuthentication):
    """Gives `request.auth`, the `AccessToken`, and `request.user`, which is no model.

    A request without credentials is left to the next authenticator; a bad credential raises `RefusedRequest`. List it
    first: Django REST framework takes the challenge of a 401 from the first one. By itself it requires no token: add
    `Requires(...)` or `IsAuthenticated`.

    Where the setting `HEADER` names a gateway's field, a request needs a CSRF token, as with `SessionAuthentication`.
    """

    def authenticate(self, request: Request) -> tuple[TokenUser, AccessToken] | None:
        """The caller and its token, None without credentials. Called by Django REST framework."""
        http, conf = _http(request), None
        try:
            conf = current()
            token = conf.drf.validate(http, OPTIONAL)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            raise _refused(conf, request, error) from None
        if token is None:
            return None
        _admit(conf, request, token)
        return TokenUser(token), token

    def authenticate_header(self, request: Request) -> str:
        """The challenge for a missing token: with it, Django REST framework answers 401 and not 403."""
        return joined(_reject(current(), request, MissingTokenError()).headers)["WWW-Authenticate"]


def Requires(*requirements: Required) -> type[BasePermission]:  # noqa: N802 - it stands where classes do
    """A permission class: `permission_classes = [Requires("orders:read")]`. It needs all of `requirements` (a text is
    a `Scope`); without any, just a token. Joins others by `&`.

    It raises `RefusedRequest`, as False would drop the challenge: 401 without a token, also where another authenticator
    let the request in; 403 where the token is not enough. So in `A | Requires("x")` it comes last, and `~` of it
    rejects every request. Raises `ConfigurationError` for what is no requirement.
    """
    needed = all_of(requirements)

    class RequiresToken(BasePermission):
        def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ARG002 - named by the framework
            http, conf = _http(request), None
            is_let_in = request.successful_authenticator is not None
            auth = request.auth if is_let_in else None
            try:
                conf = current()
                if is_let_in:
                    conf.drf.check(http, auth if isinstance(auth, AccessToken) else None, needed, name="drf")
                    return True
                token = conf.drf.validate(http, needed)
            except Exception as error:  # noqa: BLE001 - anything unexpected rejects
                raise _refused(conf, request, error) from None
            _admit(conf, request, token)
            return True

    mark(RequiresToken, needed)
    mark(RequiresToken.has_permission, needed)
    return RequiresToken


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponseBase | None:
    """For `REST_FRAMEWORK["EXCEPTION_HANDLER"]`: rejections get the same body as from every other adapter.

    So do a `TokenGuardError` that a view raises, and the 401 of `IsAuthenticated` where `BearerAuthentication` is the
    first authenticator. Everything else goes to the handler of Django REST framework.
    """
    from rest_framework import views

    request = context.get("request")
    rejection = None if request is None else _rejection(exc, request)
    if request is None or rejection is None:
        return views.exception_handler(exc, dict(context))
    views.set_rollback()
    return answer(_http(request), rejection)


def _rejection(exc: Exception, request: Request) -> Rejection | None:
    if isinstance(exc, RefusedRequest):
        return exc.rejection
    if isinstance(exc, exceptions.NotAuthenticated):
        first = next(iter(request.authenticators or ()), None)
        if not isinstance(first, BearerAuthentication):
            return None
        exc = MissingTokenError()
    if not isinstance(exc, TokenGuardError):
        return None
    conf, http = current(), _http(request)
    conf.drf.note(http, conf.reader.kept(http, TOKEN_KEY), exc)
    return _reject(conf, request, exc)


def _http(request: Request) -> HttpRequest:
    return request._request  # noqa: SLF001 - Django's own request, as its authors use it


def _view(request: Request) -> Any:
    return (getattr(request, "parser_context", None) or {}).get("view")


def _give(request: Request, fields: Mapping[str, str]) -> None:
    """Let the answer to `request` have `fields`, whatever makes it: Django REST framework adds those of the view."""
    view = _view(request)
    given = getattr(view, "headers", None)
    if isinstance(given, Mapping):
        view.headers = {**given, **fields}  # not `update`: a view may have one mapping for all its requests


def _refused(conf: Conf | None, request: Request, error: Exception) -> RefusedRequest:
    rejection = UNGUARDED.note_and_reject(_http(request), error) if conf is None else _reject(conf, request, error)
    _give(request, {name: value for name, value in rejection.fields if name not in _WRITTEN})
    return RefusedRequest(rejection)


def _reject(conf: Conf, request: Request, error: Exception) -> Rejection:
    """The answer to an error that is noted. Beside metadata a challenge lists what the permissions of the view ask for,
    also where none of them was asked yet."""
    if conf.drf.metadata is not None:
        permissions = getattr(_view(request), "permission_classes", ())
        conf.drf.attach_scopes(error, all_of(one for permission in permissions for one in _asked_by(permission)))
    return conf.drf.reject(error, _http(request))


def _asked_by(permission: Any) -> tuple[Requirement, ...]:
    operator = getattr(permission, "operator_class", None)
    if operator is None:
        return marks(permission)
    first, second = _asked_by(permission.op1_class), _asked_by(getattr(permission, "op2_class", None))
    return (first or second) if operator is OR else (*first, *second)


def _admit(conf: Conf, request: Request, token: AccessToken | None) -> None:
    """Let a request in. Django REST framework exempts all its views from CSRF protection and leaves it to what lets a
    request in; a gateway's field comes with a cookie."""
    http = _http(request)
    if conf.header is not None:
        check: Any = CSRFCheck(HttpResponse)  # which is never made
        check.process_request(http)
        reason = check.process_view(http, None, (), {})
        if reason:
            raise exceptions.PermissionDenied(f"CSRF Failed: {reason}")
    admit(conf, http, token)
    if conf.drf.gives_nonces and (nonce := conf.drf.nonce(http)) is not None:
        _give(request, {"DPoP-Nonce": nonce})
