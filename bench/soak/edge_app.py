"""The gateway: `soak.edge_app:app` by uvicorn, with two workers, behind nginx."""

from soak.app import make_validator
from tokenguard.gateway import Gateway

app = Gateway(make_validator(dpop=None), [{"path": "/", "scope": []}])
