"""JSON Web Tokens for cases in YAML, signed with keys that are made anew in each run.

    !jwt {alg: RS256, claims: {key: a, exp: 60}}        a token; `!bearer` the same behind "Bearer "
    !public_key RS256                                   the PEM of the key that signs RS256
    !jwks [RS256, ES256]                                these keys as a set, with their names as kid

Of a token: `alg` (HS256) chooses key and signature, `secret` is for HS*; `header` and `claims` are
added to {alg, typ} and {exp: in an hour}, where null removes a member; a text stands as it is. exp
and nbf below 10^9 are seconds from now. `signature` (text) replaces the real one, `ecdsa: zero` has
r = s = 0, `ecdsa: high` the larger s, `ecdsa: der` the wrong form. `prefix` and `tail`
are put around it; `repeat` adds a claim of that length.
"""

import base64
import functools
import hashlib
import hmac
import json
import time

import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

SECRET = "the secret of the tests"
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
ORDERS = {"ES256": 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551}


def url(data):
    data = data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@functools.lru_cache(maxsize=None)
def private_key(kind):
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(CURVES[kind]())


def key_of(algorithm):
    return private_key("rsa" if algorithm[0] in "RP" else algorithm)


def public_key(algorithm):
    return key_of(algorithm).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(algorithm):
    def number(value, size):
        return url(value.to_bytes(size, "big"))
    public = key_of(algorithm).public_key()
    common = {"kid": algorithm, "alg": algorithm, "use": "sig"}
    if algorithm == "EdDSA":
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {**common, "kty": "OKP", "crv": "Ed25519", "x": url(raw)}
    numbers = public.public_numbers()
    if algorithm[0] in "RP":
        return {**common, "kty": "RSA", "n": number(numbers.n, 256), "e": number(numbers.e, 3)}
    size = (public.key_size + 7) // 8
    curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
    return {**common, "kty": "EC", "crv": curve, "x": number(numbers.x, size),
            "y": number(numbers.y, size)}


def _ecdsa(key, algorithm, data, digest, form):
    der = key.sign(data, ec.ECDSA(digest))
    if form == "der":
        return der
    r, s = utils.decode_dss_signature(der)
    if form == "zero":
        r = s = 0
    if form == "high":
        s = max(s, ORDERS[algorithm] - s)
    size = (key.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def sign(algorithm, data, secret=SECRET, ecdsa=None):
    if algorithm.startswith("HS"):
        return hmac.new(secret.encode(), data, getattr(hashlib, "sha" + algorithm[2:])).digest()
    key = key_of(algorithm)
    if algorithm == "EdDSA":
        return key.sign(data)
    digest = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[algorithm[2:]]()
    if algorithm.startswith("ES"):
        return _ecdsa(key, algorithm, data, digest, ecdsa)
    if algorithm.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(data, padding.PKCS1v15(), digest)


def _json(members, defaults):
    if isinstance(members, str):
        return members
    members = {**defaults, **(members or {})}
    for name in ("exp", "nbf"):
        if isinstance(members.get(name), int) and abs(members[name]) < 10**9:
            members[name] += int(time.time())
    return json.dumps({name: value for name, value in members.items() if value is not None})


def token(alg="HS256", header=None, claims=None, secret=SECRET, ecdsa=None, signature=None,
          prefix="", tail="", repeat=1):
    if repeat > 1:
        claims = {**claims, "fill": "x" * repeat}
    first = url(_json(header, {"alg": alg, "typ": "JWT"}))
    data = first + "." + url(_json(claims, {"exp": 3600}))
    if signature is None:
        signature = url(sign(alg, data.encode(), secret, ecdsa))
    return f"{prefix}{data}.{signature}{tail}"


class CaseLoader(yaml.SafeLoader):
    pass


def _mapping(loader, node):
    return loader.construct_mapping(node, deep=True)


CaseLoader.add_constructor("!jwt", lambda loader, node: token(**_mapping(loader, node)))
CaseLoader.add_constructor("!bearer", lambda loader, node: "Bearer " + token(**_mapping(loader, node)))
CaseLoader.add_constructor("!public_key",
                           lambda loader, node: public_key(loader.construct_scalar(node)))
CaseLoader.add_constructor(
    "!jwks", lambda loader, node: json.dumps({"keys": [jwk(name) for name in
                                                       loader.construct_sequence(node)]}))
