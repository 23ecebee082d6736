"""Secret stores as callables, for client_secret, private_key or client_assertion: no dependency but httpx.

TokenSource(issuer, "orders", lambda: vault("secret/data/orders", "client_secret"))
"""

import os
from base64 import b64decode

import httpx

TIMEOUT = 3  # seconds; the source's http_timeout bounds all of an attempt


def vault(path: str, field: str) -> str:
    """HashiCorp Vault or OpenBao, key-value store version 2."""
    url, headers = f"{os.environ['VAULT_ADDR']}/v1/{path}", {"X-Vault-Token": os.environ["VAULT_TOKEN"]}
    return str(httpx.get(url, headers=headers, timeout=TIMEOUT).raise_for_status().json()["data"]["data"][field])


def aws(secret_id: str, agent: str = "http://localhost:2773") -> str:
    """AWS Secrets Manager, by its agent or the Lambda extension on this host."""
    headers = {"X-Aws-Parameters-Secrets-Token": os.environ["AWS_SESSION_TOKEN"]}
    answer = httpx.get(f"{agent}/secretsmanager/get", params={"secretId": secret_id}, headers=headers, timeout=TIMEOUT)
    return str(answer.raise_for_status().json()["SecretString"])


def azure(url: str, imds: str = "http://169.254.169.254") -> str:
    """Azure Key Vault, https://NAME.vault.azure.net/secrets/NAME, by the managed identity of this host."""
    query = {"api-version": "2018-02-01", "resource": "https://vault.azure.net"}
    headers = {"Metadata": "true"}
    asked = httpx.get(f"{imds}/metadata/identity/oauth2/token", params=query, headers=headers, timeout=TIMEOUT)
    bearer = {"Authorization": f"Bearer {asked.raise_for_status().json()['access_token']}"}
    answer = httpx.get(url, params={"api-version": "7.4"}, headers=bearer, timeout=TIMEOUT)
    return str(answer.raise_for_status().json()["value"])


def google(
    name: str, metadata: str = "http://metadata.google.internal", store: str = "https://secretmanager.googleapis.com"
) -> str:
    """Google Secret Manager, projects/P/secrets/S/versions/latest, by the metadata server of this host."""
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    asked = httpx.get(f"{metadata}{path}", headers={"Metadata-Flavor": "Google"}, timeout=TIMEOUT)
    bearer = {"Authorization": f"Bearer {asked.raise_for_status().json()['access_token']}"}
    answer = httpx.get(f"{store}/v1/{name}:access", headers=bearer, timeout=TIMEOUT)
    return b64decode(answer.raise_for_status().json()["payload"]["data"]).decode()


def github(audience: str) -> str:
    """GitHub Actions, with `permissions: id-token: write`: an assertion of the workflow, for client_assertion."""
    headers = {"Authorization": f"Bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    url = httpx.URL(os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"]).copy_merge_params({"audience": audience})
    return str(httpx.get(url, headers=headers, timeout=TIMEOUT).raise_for_status().json()["value"])
