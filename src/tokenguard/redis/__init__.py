"""`RedisStore`: a revocation list, introspection answers and used DPoP proofs, shared between processes and hosts
through Redis.

Needs the extra `redis`.

Key layout. Digests are SHA-256 in hex; no token, issuer or name can be read from a key. Every key expires by itself.

    <prefix>deny:<digest>    of kind, issuer and value, each after its length in 4 bytes; kind is jti, client_id or sub.
                             Value: "<until> <issued_before>", NumericDates, the second "-" for a single token.
                             Expires an hour after <until>.
    <prefix>answer:<digest>  of the issuer, the settings and the SHA-256 of the token. Value: the JSON of the answer.
                             Expires when the answer may no longer be used: cache_ttl, negative_ttl, the token's exp.
    <prefix>proof:<digest>   of the key's thumbprint and the proof's jti. Value: random, another one for each use. Set
                             only where it is not there, in one step. Expires when the proof cannot pass any more.

A process that can write to this Redis can make revoked tokens valid again, forge answers, and let proofs be used twice:
give it a password or ACL, and TLS (`rediss:`) if it is on another host.

Owns: its public name, and the layout above. Must not know: what an entry rejects, what an answer means.
"""

from tokenguard.redis.store import RedisStore

__all__ = ["RedisStore"]
