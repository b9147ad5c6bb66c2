"""Signs listener tokens for tests, as a backend does."""

import time
from functools import cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET = "a secret for tests that is long enough"  # noqa: S105  # of tests alone
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def token(sub: str = "ann", *, key: str | Private = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """A token that expires in ten minutes, unless `claims` say otherwise. A claim that is None is left out."""
    said = {"sub": sub, "exp": int(time.time()) + 600} | claims
    return jwt.encode({name: value for name, value in said.items() if value is not None}, key, algorithm=algorithm)


@cache
def private_key(kind: str) -> Private:
    """A private key for RS256 or ES256, or one of a kind that is refused."""
    match kind:
        case "RS256":
            return rsa.generate_private_key(65537, 2048)
        case "RSA of 1024 bits":
            return rsa.generate_private_key(65537, 1024)  # noqa: S505  # the service must refuse it
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: Private) -> str:
    """The public part, as a backend publishes it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: Private) -> str:
    """The private part, which nobody may give to the service."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
