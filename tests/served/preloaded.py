"""A WSGI application whose validator has fetched keys before the server forks (gunicorn --preload)."""

from tokenguard import TokenValidator
from tokenguard.wsgi import BearerMiddleware

validator = TokenValidator.from_env()
validator.warm_up()


def orders(environ, start_response):
    subject = environ["tokenguard.access_token"].subject.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(subject)))])
    return [subject]


app = BearerMiddleware(orders, validator, scope="orders:read")
